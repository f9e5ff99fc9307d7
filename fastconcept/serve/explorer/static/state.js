// The state of the page is its address: every view has a link, and the browser's back button works.

const DEFAULTS = {
  photo: "", mode: "", below: "", concept: "", with: "", opacity: 0.85, threshold: 0, box: false, l1: 0.25,
  without: [], place: "",
};

// What the server says suits its model.
export const useDefaults = (given) => Object.assign(DEFAULTS, given);

export function read() {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = structuredClone(DEFAULTS);
  for (const name of ["photo", "mode", "below", "concept", "with", "place"]) state[name] = given.get(name) ?? "";
  for (const [name, most] of [["opacity", 1], ["threshold", 0.95], ["l1", 1]]) {
    const number = parseFloat(given.get(name));
    if (number >= 0 && number <= most) state[name] = number;
  }
  state.box = given.get("box") === "1";
  state.without = given.getAll("without");
  return state;
}

function address(state) {
  const parts = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (Array.isArray(value)) value.forEach((item) => parts.append(name, item));
    else if (value !== DEFAULTS[name]) parts.set(name, value === true ? "1" : value);
  }
  return `#${parts}`;
}

// Go to a view; small changes, such as those of sliders, leave no trace in the history.
export function write(changes, quietly = false) {
  const next = address({ ...read(), ...changes });
  if (next === location.hash) return;
  history[quietly ? "replaceState" : "pushState"](null, "", next);
  dispatchEvent(new Event("viewchange"));
}

export const link = () => location.href;
