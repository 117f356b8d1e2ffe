// What the administration's skin leaves to be desired: names for screen readers, and times as the viewer reads them.

const times = new URL("times.js", document.currentScript.src);

// These come into the page after it has loaded.
function nameLatecomers() {
  for (const hint of document.querySelectorAll("span[aria-label]:not([role])")) hint.setAttribute("role", "img");
  for (const box of document.querySelectorAll(".select2-selection")) {
    const select = box.closest(".select2").previousElementSibling;
    const label = select && document.querySelector(`label[for="${select.id}"]`);
    if (!label) continue;
    for (const part of [box, box.querySelector("[role=textbox]")]) {
      part?.removeAttribute("aria-labelledby");
      part?.setAttribute("aria-label", label.textContent.trim());
    }
  }
}

document.addEventListener("DOMContentLoaded", () => {
  import(times);
  // Fields in a list are named by their column and row.
  for (const field of document.querySelectorAll("#result_list td :is(input, select):not([type=hidden])")) {
    if (field.labels.length || field.hasAttribute("aria-label")) continue;
    const row = field.closest("tr").querySelector("th a")?.textContent ?? "";
    const column = field.closest("td").dataset.label ?? "";
    field.setAttribute("aria-label", `${column} ${row}`.trim());
  }
  nameLatecomers();
  new MutationObserver(nameLatecomers).observe(document.body, { childList: true, subtree: true });
});
