// Keeps the app's files for the time without a network. Each version has a cache of its own: a new
// one is complete before it takes over, and files that stay the same are not loaded again.

importScripts("app-files.js");

const { version, files } = self.APP;
const CACHE = `leafzoom-${version}`;
const LIST = "app-files.js";
const ENGINE = "engine.json";
const SERVER_TIMEOUT_MS = 3000;

// Threads of WebAssembly need a page that no other site can look into.
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

const addressOf = (path) => new URL(path, self.registration.scope).href;
const integrityOf = (digest) =>
  `sha256-${btoa(String.fromCharCode(...digest.match(/../g).map((byte) => parseInt(byte, 16))))}`;

async function tell(message) {
  const clients = await self.clients.matchAll({ includeUncontrolled: true, type: "window" });
  for (const client of clients) client.postMessage(message);
}

// The digests of the files in an earlier version's cache, by path.
async function earlierFiles() {
  const names = (await caches.keys()).filter((name) => name.startsWith("leafzoom-"));
  for (const name of names.filter((other) => other !== CACHE)) {
    const cache = await caches.open(name);
    const list = await cache.match(addressOf(LIST));
    if (!list) continue;
    const entries = await list.json();
    return { cache, digests: new Map(entries.map(({ path, sha256 }) => [path, sha256])) };
  }
  return { cache: null, digests: new Map() };
}

async function install() {
  const earlier = await earlierFiles();
  const cache = await caches.open(CACHE);
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  for (const { path, bytes, sha256 } of files) {
    const address = addressOf(path);
    const isKnown = earlier.digests.get(path) === sha256;
    const kept = isKnown ? await earlier.cache.match(address) : null;
    if (kept) await cache.put(address, kept);
    else await load(cache, address, sha256);
    loaded += bytes;
    await tell({ loaded, total });
  }
  await cache.put(addressOf(LIST), new Response(JSON.stringify(files)));
  const engine = await fetch(addressOf(ENGINE), { cache: "no-cache" });
  if (engine.ok) await cache.put(addressOf(ENGINE), engine);
}

async function load(cache, address, sha256) {
  const options = { cache: "no-cache", integrity: integrityOf(sha256), credentials: "same-origin" };
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error(`${address}: status ${answer.status}`);
  await cache.put(address, answer);
}

self.addEventListener("install", (event) => event.waitUntil(install()));

self.addEventListener("message", ({ data }) => {
  if (data === "take over") self.skipWaiting();
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const names = await caches.keys();
      const old = names.filter((name) => name.startsWith("leafzoom-") && name !== CACHE);
      await Promise.all(old.map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  const scope = new URL(self.registration.scope);
  if (request.method !== "GET" || url.origin !== scope.origin) return;

  const path = url.pathname.slice(scope.pathname.length);
  if (path === ENGINE) event.respondWith(engineAnswer(request));
  else if (path === "" || files.some((file) => file.path === path))
    event.respondWith(keptAnswer(path || "index.html", request));
});

// What the host offers may change: asked first, and kept for the time without a network.
async function engineAnswer(request) {
  const cache = await caches.open(CACHE);
  const timeout = new Promise((resolve) => setTimeout(resolve, SERVER_TIMEOUT_MS, null));
  const answer = await Promise.race([fetch(request).catch(() => null), timeout]);
  if (answer?.ok) {
    await cache.put(addressOf(ENGINE), answer.clone());
    return answer;
  }
  return (await cache.match(addressOf(ENGINE))) ?? Response.error();
}

async function keptAnswer(path, request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(addressOf(path));
  if (!kept) return fetch(request);
  const headers = new Headers(kept.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  return new Response(kept.body, { status: 200, headers });
}
