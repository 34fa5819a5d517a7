// One result beside the query.

import { byId, cameraOf, idOf, element, identityOf, pictureOf, shownDistance, state } from "./page.js";

export function view(index) {
  const hit = state.hits[index];
  if (!hit) return;
  state.shown = index;
  byId("viewer-title").textContent = identityOf(hit);
  byId("viewer-badge").textContent = hit.match ? "Match" : "No match";
  byId("viewer-badge").classList.toggle("match", hit.match);
  byId("viewer-hit").parentElement.classList.remove("gone");
  byId("viewer-hit").src = pictureOf(hit);
  byId("viewer-hit").alt = `Result ${index + 1}`;
  byId("viewer-caption").textContent = `Result ${index + 1} of ${state.hits.length}`;
  const facts = { Distance: shownDistance(hit.distance), Camera: cameraOf(hit), File: hit.name, Id: idOf(hit) };
  byId("viewer-facts").replaceChildren(
    ...Object.entries(facts).map(([name, value]) => {
      const fact = element("div");
      fact.append(element("dt", "", name), element("dd", "", value));
      return fact;
    }),
  );
  byId("previous").disabled = index === 0;
  byId("next").disabled = index === state.hits.length - 1;
  if (!byId("viewer").open) byId("viewer").showModal();
}
