// Keeps the state and the stream of decisions up to date. The page works without it.
"use strict";

const every = 2000;
const most = 100;
const decisions = document.getElementById("decisions");
const state = document.getElementById("state");
const pause = document.getElementById("pause");
const none = document.getElementById("none");

// Escaped by the server; as a document of its own, in which nothing runs.
async function fetched(address) {
  const answer = await fetch(address, { redirect: "error", cache: "no-store" });
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  const parsed = new DOMParser().parseFromString(await answer.text(), "text/html");
  return [...parsed.body.childNodes];
}

function newest() {
  return decisions.firstElementChild?.dataset.number ?? 0;
}

async function news() {
  const wanted = new URLSearchParams(location.search);
  wanted.set("after", newest());
  decisions.prepend(...(await fetched(`/decisions?${wanted}`)));
  while (decisions.childElementCount > most) decisions.lastElementChild.remove();
  none.hidden = decisions.childElementCount > 0;
}

async function refresh() {
  const isPaused = pause.getAttribute("aria-pressed") === "true";
  try {
    if (!document.hidden && !isPaused) {
      state.replaceChildren(...(await fetched("/state")));
      await news();
      state.classList.remove("stale");
    }
  } catch {
    // Away for a moment, or restarted: what is shown is old until it answers again.
    state.classList.add("stale");
  }
  setTimeout(refresh, every);
}

if (decisions) {
  none.hidden = decisions.childElementCount > 0;
  pause.hidden = false;
  pause.addEventListener("click", () => {
    const isPaused = pause.getAttribute("aria-pressed") === "true";
    pause.setAttribute("aria-pressed", String(!isPaused));
    pause.textContent = isPaused ? "Pause" : "Go on";
  });
  setTimeout(refresh, every);
}
