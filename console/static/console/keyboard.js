// Unfold's menus and the panel of filters are opened by clicks on elements that the
// keyboard does not reach. This makes them buttons, and moves the focus with them.
const BUTTONS =
  ":is(a:not([href]), span, div)[x-on\\:click]:not(#changelist-filter-close, :has(a[href], button, input))";
const FOCUSABLE =
  "a[href], button:not([disabled]), input:not([type=hidden], [disabled]), select, textarea, summary, [tabindex='0']";
// What a button opens: told by its expression, found from the button, and closed.
const LAYERS = [
  {
    word: "filterOpen",
    find: () => document.getElementById("changelist-filter"),
    close: () => document.getElementById("changelist-filter-close").click(),
    isModal: true,
  },
  {
    word: "openUserLinks",
    find: (button) => button.parentElement.querySelector("nav"),
    close: (button) => button.click(),
  },
];

// The layer that the keyboard has opened, if there is one.
let open = null;

function isVisible(element) {
  return element.getClientRects().length > 0;
}

function expressionOf(button) {
  return button.getAttribute("x-on:click");
}

function layerOf(button) {
  return LAYERS.find(({ word }) => expressionOf(button).includes(word));
}

// Its text without the names of icons.
function labelOf(button) {
  const copy = button.cloneNode(true);
  for (const icon of copy.querySelectorAll(".material-symbols-outlined")) icon.remove();
  const text = copy.matches(".material-symbols-outlined") ? "" : copy.textContent;
  return text.replace(/\s+/g, " ").trim() || "Menu";
}

function dress(root) {
  for (const button of root.querySelectorAll(BUTTONS)) {
    button.tabIndex = 0;
    button.setAttribute("role", "button");
    button.setAttribute("aria-label", labelOf(button));
    if (layerOf(button)) button.setAttribute("aria-haspopup", "true");
  }
  const filters = root.querySelector("#changelist-filter");
  filters?.setAttribute("role", "region");
  filters?.setAttribute("aria-label", "Filters");
}

function focusableIn(element) {
  return [...element.querySelectorAll(FOCUSABLE)].filter(isVisible);
}

function press(button) {
  button.click();
  const layer = layerOf(button);
  if (!layer) return;
  // Alpine shows it in the next frames.
  setTimeout(() => {
    const element = layer.find(button);
    if (!element || !isVisible(element)) return;
    open = { ...layer, button, element };
    focusableIn(element)[0]?.focus();
  }, 200);
}

function leave() {
  const { button, element, close } = open;
  open = null;
  if (isVisible(element)) close(button);
  button.focus();
}

// Keep the focus among the elements of a panel that covers the page.
function keepInside(event) {
  const inside = focusableIn(open.element);
  const [first, last] = [inside[0], inside.at(-1)];
  const end = event.shiftKey ? first : last;
  if (document.activeElement === end || !open.element.contains(document.activeElement)) {
    event.preventDefault();
    (event.shiftKey ? last : first)?.focus();
  }
}

document.addEventListener("keydown", (event) => {
  if (["Enter", " "].includes(event.key) && event.target.matches(BUTTONS)) {
    event.preventDefault();
    press(event.target);
  } else if (open && event.key === "Escape") {
    leave();
  } else if (open?.isModal && event.key === "Tab") {
    keepInside(event);
  }
});
// A layer may also be closed by the mouse.
document.addEventListener("click", ({ detail, target }) => {
  if (open && detail && !open.element.contains(target)) open = null;
});
document.addEventListener("DOMContentLoaded", () => dress(document));
