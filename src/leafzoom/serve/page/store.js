// Results on this device, in IndexedDB. A browser may refuse to keep anything, or have no room.

const NAME = "leafzoom";
const VERSION = 1;
const RESULTS = "results";
const PICTURE_TYPE = "image/jpeg";

// Why nothing was kept: `code` is "full" or "refused".
export class StoreError extends Error {
  constructor(code) {
    super(code);
    this.code = code;
  }
}

const errorOf = (error) => new StoreError(error?.name === "QuotaExceededError" ? "full" : "refused");

function opened() {
  return new Promise((resolve, reject) => {
    let request;
    try {
      request = indexedDB.open(NAME, VERSION);
    } catch (error) {
      reject(errorOf(error));
      return;
    }
    request.onupgradeneeded = () => {
      const store = request.result.createObjectStore(RESULTS, { keyPath: "id" });
      store.createIndex("time", "time");
    };
    request.onsuccess = () => {
      // A page of a newer version may change the database.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(errorOf(request.error));
    request.onblocked = () => reject(new StoreError("refused"));
  });
}

// Run work on the store, and give what its request gives, once all is written.
async function inStore(mode, work) {
  const database = await opened();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(RESULTS, mode);
      const request = work(transaction.objectStore(RESULTS));
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = () => reject(errorOf(transaction.error));
      transaction.onerror = () => reject(errorOf(transaction.error));
    });
  } catch (error) {
    throw error instanceof StoreError ? error : errorOf(error);
  } finally {
    database.close();
  }
}

// Keep entries, all of them or none. entry: { id, time, tree, result, picture, place… }.
export async function addEntries(entries) {
  const kept = await Promise.all(entries.map(withBytes));
  await inStore("readwrite", (store) => {
    for (const entry of kept) store.put(entry);
  });

  // Ask that the browser does not clear them when room gets short. It may say no, and it may ask the
  // reader first (Firefox): nothing waits for that.
  navigator.storage?.persist?.().catch(() => false);
}

// All entries, the oldest first, their pictures as blobs.
export async function allEntries() {
  const entries = await inStore("readonly", (store) => store.index("time").getAll());
  return entries.map(withBlob);
}

// The picture as bytes: WebKit without a place on disk (a private window) keeps no blob.
async function withBytes(entry) {
  if (!entry.picture) return entry;
  return { ...entry, picture: await entry.picture.arrayBuffer() };
}

// Version 0.2.0 kept blobs at first.
function withBlob(entry) {
  const { picture } = entry;
  if (!(picture instanceof ArrayBuffer)) return entry;
  return { ...entry, picture: new Blob([picture], { type: PICTURE_TYPE }) };
}

export const deleteEntries = (ids) =>
  inStore("readwrite", (store) => {
    for (const id of ids) store.delete(id);
  });

export const deleteAll = () => inStore("readwrite", (store) => store.clear());
