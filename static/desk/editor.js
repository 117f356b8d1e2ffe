// The editor of a perspective: buttons that add a field, and a question before typed work is left.

const form = document.getElementById("editor");

if (form) {
  const fields = document.getElementById("schema-fields");
  let isChanged = false;

  for (const hidden of form.querySelectorAll("[data-with-script]")) hidden.hidden = false;
  form.addEventListener("input", () => (isChanged = true));
  form.addEventListener("submit", () => (isChanged = false));
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-field]");
    if (!button) return;
    let present;
    try {
      present = JSON.parse(fields.value || "[]");
    } catch {
      fields.focus(); // what is wrong with it stands beside
      return;
    }
    if (!Array.isArray(present)) return;
    const added = JSON.parse(button.dataset.field);
    const names = new Set(present.map((field) => field?.name));
    for (let n = 2; names.has(added.name); n += 1) added.name = `${added.name.replace(/_\d+$/, "")}_${n}`;
    fields.value = JSON.stringify([...present, added], null, 2);
    fields.dispatchEvent(new Event("input", { bubbles: true }));
    fields.focus();
    const at = fields.value.lastIndexOf(`"${added.name}"`) + 1;
    fields.setSelectionRange(at, at + added.name.length);
  });
  window.addEventListener("beforeunload", (event) => {
    if (isChanged) event.preventDefault();
  });
}
