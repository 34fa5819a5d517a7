// The results: cards, states without results, and the threshold between match and no match.

import { byId, cameraOf, element, identityOf, pictureOf, plural, Refused, shownDistance, state } from "./page.js";
import { view } from "./viewer.js";

export function showState(title, text, { error = false, retry = false } = {}) {
  byId("state").hidden = false;
  byId("grid").hidden = true;
  byId("state").classList.toggle("error", error);
  byId("state").setAttribute("role", error ? "alert" : "group");
  byId("state-title").textContent = title;
  byId("state-text").textContent = text;
  byId("retry").hidden = !retry;
  byId("summary").textContent = "";
  state.hits = [];
  showTicks();
  if (error) byId("state").scrollIntoView({ block: "nearest" });
}

export function showFailure(error) {
  const refused = error instanceof Refused;
  showState(refused ? error.title : "The search failed", error.message, { error: true, retry: !refused });
}

export function showLoading() {
  const grid = byId("grid");
  byId("summary").textContent = "Searching …";
  grid.setAttribute("aria-busy", "true");
  if (state.hits.length) return; // what is there stays until the answer comes
  byId("state").hidden = true;
  grid.hidden = false;
  grid.replaceChildren(...Array.from({ length: 10 }, () => element("li", "skeleton")));
}

export function showResults({ hits, seconds }) {
  state.seconds = seconds;
  if (!hits.length) return showState("Nothing found", "The gallery has no image of these cameras.");
  state.hits = hits;
  byId("state").hidden = true;
  byId("grid").hidden = false;
  byId("grid").replaceChildren(...hits.map(card), element("li", "divider"));
  const slider = byId("threshold");
  slider.max = Math.max(Number(slider.max), 1.04 * hits.at(-1).distance);
  showMatches();
}

function card(hit, index) {
  const item = element("li");
  const button = element("button", "card");
  button.type = "button";
  const well = element("span", "well");
  const picture = element("img");
  Object.assign(picture, { alt: "", loading: "lazy", decoding: "async", src: pictureOf(hit) });
  picture.addEventListener("error", () => well.classList.add("gone"));
  well.append(element("span", "rank", index + 1), picture);
  const where = element("span", "where");
  where.append(element("span", "", cameraOf(hit)), element("b", "", shownDistance(hit.distance)));
  const body = element("span", "body");
  body.append(element("span", "who", identityOf(hit)), where, element("span", "badge"));
  button.title = hit.name;
  button.append(well, body);
  button.addEventListener("click", () => view(index));
  item.append(button);
  return item;
}

// ---- threshold: decided here, without asking the server again ----

export function showMatches() {
  const value = byId("threshold").valueAsNumber;
  byId("threshold-value").textContent = shownDistance(value);
  byId("reset").hidden = Math.abs(value - state.info.threshold) < 1e-3;
  const grid = byId("grid");
  const divider = grid.querySelector(".divider");
  showTicks();
  if (!divider || !state.hits.length) return;
  const cards = [...grid.querySelectorAll("li:not(.divider)")];
  state.hits.forEach((hit, index) => {
    hit.match = hit.distance < value;
    cards[index].classList.toggle("match", hit.match);
    cards[index].querySelector(".badge").textContent = hit.match ? "Match" : "No match";
  });
  const matches = state.hits.filter((hit) => hit.match).length;
  divider.textContent = `distance ${shownDistance(value)} – no match from here`;
  divider.hidden = matches === state.hits.length;
  grid.insertBefore(divider, cards[matches] ?? null);
  const all = plural(state.hits.length, "result", "results");
  byId("summary").textContent = `${plural(matches, "match", "matches")} among ${all} · ${state.seconds.toFixed(2)} s`;
}

function showTicks() {
  const { max, valueAsNumber } = byId("threshold");
  byId("ticks").replaceChildren(
    ...state.hits.map((hit) => {
      const tick = element("i", hit.distance < valueAsNumber ? "match" : "");
      tick.style.left = `${(100 * hit.distance) / max}%`;
      return tick;
    }),
  );
}

export function resetThreshold() {
  const slider = byId("threshold");
  slider.step = "any";
  slider.max = Math.max(2 * state.info.threshold, 1.04 * (state.hits.at(-1)?.distance ?? 0)) || 1;
  slider.value = state.info.threshold;
  slider.disabled = false;
  showMatches();
}

