// What every part of the page uses. Text of the gallery is never read as HTML.

export const state = { info: null, file: null, url: "", hits: [], seconds: 0, shown: -1, search: null };

export const byId = (id) => document.getElementById(id);
export const shownDistance = (value) => value.toFixed(state.info.metric === "cosine" ? 3 : 2);
// From its address: numbers above 2^53 lose digits here.
export const idOf = (hit) => hit.image.split("/").pop();
export const identityOf = (hit) => hit.identity ?? "unknown identity";
export const cameraOf = (hit) => hit.camera ?? "unknown camera";
export const pictureOf = (hit) => (hit.attention ?? hit.image).slice(1);
export const plural = (count, one, many) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

// An answer of the server that trying again will not change.
export class Refused extends Error {
  constructor(message, title = "This search is not possible") {
    super(message);
    this.title = title;
  }
}

export async function call(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Check that it is running, then try again.");
  }
  const body = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (answer.ok) return body;
  const said = sentence(body.detail ?? `the server answered with status ${answer.status}`);
  if (answer.status >= 500) throw new Error(said);
  throw [413, 415, 422].includes(answer.status) ? new Refused(said, "This image cannot be used") : new Refused(said);
}

const sentence = (text) => `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}`;

export function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

export function choice(type, name, value, text, checked, title = "") {
  const label = element("label", "", text);
  const input = element("input", "hidden");
  Object.assign(input, { type, name, value, checked });
  label.title = title;
  label.prepend(input);
  return label;
}
