// Follows a run that is going on: brings the page's `data-live` part anew every few seconds, until the page says it is over.
import { drawAll } from "./charts.js";

const EVERY_MS = 3000;

async function renew() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } }).catch(() => null);
  if (answer?.ok && !document.hidden) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("[data-live]");
    const shown = document.querySelector("[data-live]");
    if (fresh && shown) {
      const open = [...shown.querySelectorAll("details")].map((details) => details.open);
      shown.replaceWith(fresh);
      fresh.querySelectorAll("details").forEach((details, i) => { if (i in open) details.open = open[i]; });
      drawAll(fresh);
      if (!fresh.querySelector("[role=status]")) return;
    }
  }
  setTimeout(renew, EVERY_MS);
}

setTimeout(renew, EVERY_MS);
