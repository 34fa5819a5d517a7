// The page over the API. Nothing is loaded from another host.

import { byId, call, choice, element, identityOf, idOf, plural, Refused, state } from "./page.js";
import { resetThreshold, showFailure, showLoading, showMatches, showResults, showState } from "./results.js";
import { view } from "./viewer.js";

const attention = () => document.querySelector("#attention :checked")?.value ?? "";

async function loadGallery() {
  state.info = await call("gallery");
  const { info } = state;
  const cameras = info.cameras.length ? ` · ${plural(info.cameras.length, "camera", "cameras")}` : "";
  byId("facts").textContent = `${plural(info.size, "image", "images")}${cameras} · ${info.metric} distance`;
  byId("add").hidden = byId("remove").hidden = !info.allow_add;
  byId("known-cameras").replaceChildren(...info.cameras.map((camera) => new Option(camera.name)));
  showCameras(info.cameras);
}

function showOptions() {
  const names = { "": "Off", sa: "SA", glca: "GLCA" };
  const titles = { "": "", sa: "Self-attention of the backbone", glca: "Global-local cross-attention" };
  byId("attention-field").hidden = !state.info.attention.length;
  byId("attention").replaceChildren(
    ...["", ...state.info.attention].map((branch) => choice("radio", "attention", branch, names[branch], !branch, titles[branch])),
  );
  const rate = state.info.false_positive_rate;
  byId("default").textContent = rate ? `Default: ${100 * rate} % of pairs of different identities are closer.` : "";
  resetThreshold();
}

function showCameras(cameras) {
  const off = new Set([...document.querySelectorAll("#cameras input:not(:checked)")].map((input) => input.value));
  byId("cameras-field").hidden = cameras.length < 2;
  byId("cameras").replaceChildren(
    ...cameras.map(({ name, items }) => {
      const label = choice("checkbox", "camera", name, name, !off.has(name));
      label.append(element("small", "", items.toLocaleString("en")));
      return label;
    }),
  );
}

// ---- search ----

let early; // a file that was chosen before the gallery was known

function choose(file) {
  if (!file) return;
  if (!state.info) {
    early = file;
    return;
  }
  URL.revokeObjectURL(state.url);
  state.search?.abort();
  Object.assign(state, { file, url: URL.createObjectURL(file), hits: [] });
  byId("file-name").hidden = false;
  byId("file-name").textContent = byId("file-name").title = file.name || "pasted image";
  byId("add-button").disabled = false;
  byId("added").textContent = "";
  showQuery(state.url);
  search();
}

function showQuery(url) {
  byId("preview").src = byId("viewer-query").src = url;
  byId("preview").hidden = false;
  byId("drop").classList.add("filled");
}

async function search() {
  if (!state.file) return;
  state.search?.abort();
  const limit = state.info.max_upload_bytes;
  const boxes = [...document.querySelectorAll("#cameras input")];
  const chosen = boxes.filter((box) => box.checked);
  if (state.file.size > limit) {
    return showFailure(new Refused(`The file has ${(state.file.size / 2 ** 20).toFixed(1)} MiB, more than ${limit / 2 ** 20} MiB.`, "This image is too large"));
  }
  if (boxes.length && !chosen.length) return showState("No camera is chosen", "Choose at least one camera to search.");
  if (!byId("k").checkValidity()) return showFailure(new Refused("The number of results must be from 1 to 100."));
  const form = new FormData();
  form.append("image", state.file);
  form.append("k", byId("k").value);
  if (chosen.length < boxes.length) for (const box of chosen) form.append("camera", box.value);
  if (attention()) form.append("attention", attention());
  const abort = (state.search = new AbortController());
  showLoading();
  try {
    const found = await call("search", { method: "POST", body: form, signal: abort.signal });
    showQuery(found.attention ?? state.url);
    byId("scale").hidden = !found.attention;
    showResults(found);
  } catch (error) {
    if (error.name !== "AbortError") showFailure(error);
  } finally {
    if (state.search === abort) byId("grid").setAttribute("aria-busy", "false");
  }
}

// ---- changes of the gallery ----

async function reload() {
  await loadGallery();
  await search();
}

async function add(event) {
  event.preventDefault();
  const form = new FormData(byId("add-form"));
  form.append("image", state.file);
  try {
    const { id } = await call("gallery", { method: "POST", body: form });
    byId("added").textContent = `Added as item ${id}.`;
    await reload();
  } catch (error) {
    byId("added").textContent = error.message;
  }
}

async function remove() {
  const hit = state.hits[state.shown];
  if (!confirm(`Remove item ${idOf(hit)} (${identityOf(hit)}) from the gallery?`)) return;
  byId("viewer").close();
  try {
    await call(`gallery/${idOf(hit)}`, { method: "DELETE" });
    await reload();
  } catch (error) {
    showFailure(error);
  }
}

// ---- events ----

let waiting;
function searchSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(search, 250);
}

function listen() {
  byId("file").addEventListener("change", (event) => {
    choose(event.target.files[0]);
    event.target.value = ""; // so that the same file can be chosen again
  });
  byId("k").addEventListener("input", searchSoon);
  byId("cameras").addEventListener("change", searchSoon);
  byId("attention").addEventListener("change", search);
  byId("threshold").addEventListener("input", showMatches);
  byId("reset").addEventListener("click", resetThreshold);
  byId("retry").addEventListener("click", () => (state.info ? search() : start()));
  byId("add-form").addEventListener("submit", add);
  byId("remove").addEventListener("click", remove);
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("previous").addEventListener("click", () => view(state.shown - 1));
  byId("next").addEventListener("click", () => view(state.shown + 1));
  byId("viewer").addEventListener("click", (event) => event.target === event.currentTarget && event.target.close());
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") view(state.shown - 1);
    if (event.key === "ArrowRight") view(state.shown + 1);
  });
  byId("viewer-hit").addEventListener("error", (event) => event.target.parentElement.classList.add("gone"));
  byId("preview").addEventListener("load", ({ target }) => {
    const ratio = Math.min(1.5, Math.max(0.5, target.naturalWidth / target.naturalHeight));
    document.documentElement.style.setProperty("--ratio", ratio.toFixed(2));
  });
  byId("preview").addEventListener("error", () => {
    byId("preview").hidden = true;
    byId("drop").classList.remove("filled");
  });
  addEventListener("paste", (event) => choose(event.clipboardData.files[0]));
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(name, (event) => {
      event.preventDefault();
      document.body.classList.toggle("dragging", name === "dragenter" || name === "dragover");
      if (name === "drop") choose(event.dataTransfer.files[0]);
    });
  }
}

async function start() {
  try {
    await loadGallery();
    showOptions();
    showState("Search with a picture", "The images of the gallery that look most alike appear here, nearest first.");
    choose(early);
    early = undefined;
  } catch (error) {
    byId("facts").textContent = "";
    showState("The gallery cannot be reached", error.message, { error: true, retry: true });
  }
}

byId("options").open = matchMedia("(min-width: 761px)").matches;
listen();
start();
