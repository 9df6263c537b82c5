// What the console's pages do without a request. Alpine and htmx do the rest.
document.addEventListener("click", (event) => {
  const button = event.target.closest("button.copy");
  if (!button) return;
  event.preventDefault();
  copy(button.dataset.copy).then(() => {
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1500);
  });
});

// Browsers have no `clipboard` on a page of plain HTTP, unless it is of this machine.
function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text });
  const focused = document.activeElement;
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return copied ? Promise.resolve() : Promise.reject(new Error("not copied"));
}

// The overview refreshes itself: it says if that fails, and leaves the page once the
// session has ended.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (new URL(detail.xhr.responseURL).pathname.endsWith("/login/")) {
    detail.shouldSwap = false;
    location.reload();
  }
});
for (const event of ["htmx:afterRequest", "htmx:sendError"]) {
  document.addEventListener(event, ({ detail }) => {
    const stale = document.getElementById("stale");
    if (stale && detail.elt.id === "overview") stale.hidden = Boolean(detail.successful);
  });
}
