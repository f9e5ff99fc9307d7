// Small tools for the document. Text is always set as text.

export const find = (selector, within = document) => within.querySelector(selector);

export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function say(text) {
  find("#status").textContent = text;
}

export function complain(error) {
  if (error.name === "AbortError") return;
  const notice = find("#notice");
  find("p", notice).textContent = error.message;
  notice.hidden = false;
  if (!(error.status >= 0)) console.error(error);
}

export function calm() {
  find("#notice").hidden = true;
}

export function later(milliseconds, work) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

export function save(name, content) {
  const address = URL.createObjectURL(content);
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
