// The engine of a page that `leafzoom serve` shows: photos go to it, and predictions come back.

import { t } from "./messages.js";

const MAX_ATTEMPTS = 5;
const DEFAULT_RETRY_SECONDS = 1;
const UNAUTHORISED = 401;
const TOO_MANY_REQUESTS = 429;

// What a proxy in front of the service answers by itself, without a reason that people can read.
const PROXY_STATUSES = [413, 502, 504];

// A sentence for people about what went wrong.
export class ServerRefusal extends Error {}

export class ServerEngine {
  constructor() {
    this.kind = "server";
    this.opening = null;
  }

  // Asks for the model once; what fails may be tried again.
  open() {
    this.opening ??= this.start().catch((error) => {
      this.opening = null;
      throw error;
    });
    return this.opening;
  }

  async start() {
    const answer = await fetch("api/v1/model");

    // The cookie has ended, or the token is another one now: the page asks for it.
    if (answer.status === UNAUTHORISED) location.reload();
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    this.model = await answer.json();
    this.limits = this.model.limits;
    return this;
  }

  // { predictions, pooled, exif }; exif is empty, as the service says nothing of time and place.
  async diagnose(files, { signal, onBusy } = {}) {
    const answer = await this.post(files, signal, onBusy);
    const content = await answer.json().catch(() => null);
    if (!Array.isArray(content?.predictions)) throw new ServerRefusal(refusalText(answer, content));
    const { predictions, pooled } = content;
    return { predictions, pooled, exif: predictions.map(() => ({})) };
  }

  // The service's answer; while the service is busy, it is asked again when it says so.
  async post(files, signal, onBusy) {
    const form = new FormData();
    for (const file of files) form.append("photos", file, file.name);

    for (let attempt = 1; ; attempt++) {
      const query = this.model.maps ? "?pooled=true&maps=true" : "?pooled=true";
      const options = { method: "POST", body: form, signal };
      const answer = await fetch(`api/v1/predictions${query}`, options);
      if (answer.status !== TOO_MANY_REQUESTS || attempt === MAX_ATTEMPTS) return answer;

      onBusy?.();
      const seconds = Number(answer.headers.get("Retry-After")) || DEFAULT_RETRY_SECONDS;
      await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    }
  }
}

function refusalText(answer, content) {
  const isKnown = PROXY_STATUSES.includes(answer.status);
  const reason =
    content?.detail ?? (isKnown ? t(`proxy.${answer.status}`) : `status ${answer.status}`);
  return t("status.refused", { reason });
}
