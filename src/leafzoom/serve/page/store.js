// Results on this device, in IndexedDB. A browser may refuse to keep anything, or have no room.

const NAME = "leafzoom";
const VERSION = 1;
const RESULTS = "results";

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
  await inStore("readwrite", (store) => {
    for (const entry of entries) store.put(entry);
  });

  // Ask that the browser does not clear them when room gets short. It may say no.
  await navigator.storage?.persist?.().catch(() => false);
}

// All entries, the oldest first.
export const allEntries = () => inStore("readonly", (store) => store.index("time").getAll());

export const deleteEntries = (ids) =>
  inStore("readwrite", (store) => {
    for (const id of ids) store.delete(id);
  });

export const deleteAll = () => inStore("readwrite", (store) => store.clear());
