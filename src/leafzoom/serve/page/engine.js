// Which engine diagnoses: the server where there is one, this device where there is none.

import { PhoneEngine } from "./engine-phone.js";
import { ServerEngine } from "./engine-server.js";

const SERVER_TIMEOUT_MS = 5000; // before a page that can do without goes on without

// What the host offers: { server, phone }, whether there are such engines.
export async function offeredEngines() {
  const answer = await fetch("engine.json");
  if (!answer.ok) throw new Error(`engine.json: status ${answer.status}`);
  return answer.json();
}

// The engine, not opened yet. A server that does not answer in time is passed over.
export async function chooseEngine({ server, phone }) {
  if (!server) return new PhoneEngine();

  const engine = new ServerEngine();
  if (!phone) return engine;
  const timeout = new Promise((_, reject) => {
    setTimeout(() => reject(new Error("no answer")), SERVER_TIMEOUT_MS);
  });
  try {
    await Promise.race([engine.open(), timeout]);
    return engine;
  } catch {
    return new PhoneEngine();
  }
}
