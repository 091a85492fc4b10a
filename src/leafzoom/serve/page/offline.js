// The app without a network: its service worker keeps the files, and takes new versions.

import { byId } from "./dom.js";
import { t } from "./messages.js";

const BYTES_PER_MB = 2 ** 20;

const megabytes = (bytes) => Math.ceil(bytes / BYTES_PER_MB);

// Keep the app's files on this device. Resolves when they are there, or when that is not possible.
export async function keepFiles() {
  addManifest();
  if (!("serviceWorker" in navigator)) {
    byId("offline").textContent = t("offline.impossible");
    return;
  }

  navigator.serviceWorker.addEventListener("message", ({ data }) => showProgress(data));
  try {
    const hadFiles = Boolean(navigator.serviceWorker.controller);
    const options = { updateViaCache: "none" };
    const registration = await navigator.serviceWorker.register("service-worker.js", options);
    watchForUpdates(registration);
    if (!hadFiles) await whenActive(registration);
    byId("offline").textContent = t("offline.ready");
  } catch {
    byId("offline").textContent = t("offline.failed");
  } finally {
    byId("loading").hidden = true;
  }
}

// A browser that is offline from the beginning never becomes active: then the files fail to load.
function whenActive(registration) {
  const worker = registration.installing ?? registration.waiting;
  if (registration.active || !worker) return Promise.resolve();
  return new Promise((resolve, reject) => {
    worker.addEventListener("statechange", () => {
      if (worker.state === "activated") resolve();
      if (worker.state === "redundant") reject(new Error("the files could not be kept"));
    });
  });
}

function addManifest() {
  const link = document.createElement("link");
  link.rel = "manifest";
  link.href = "manifest.webmanifest";
  document.head.append(link);
}

function showProgress({ loaded, total }) {
  if (!total) return;
  byId("loading").hidden = loaded >= total;
  byId("loading").value = loaded / total;
  const values = { loaded: megabytes(loaded), total: megabytes(total) };
  byId("offline").textContent = t("offline.loading", values);
}

// Say that a new version is there; it is taken when the reader wants it.
function watchForUpdates(registration) {
  const offer = (worker) => {
    if (!navigator.serviceWorker.controller) return;
    byId("update").hidden = false;
    byId("update-now").addEventListener("click", () => worker.postMessage("take over"));
  };
  if (registration.waiting) offer(registration.waiting);
  registration.addEventListener("updatefound", () => {
    const worker = registration.installing;
    worker?.addEventListener("statechange", () => {
      if (worker.state === "installed") offer(worker);
    });
  });

  let isFirst = !navigator.serviceWorker.controller;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (!isFirst) location.reload();
    isFirst = false;
  });
}
