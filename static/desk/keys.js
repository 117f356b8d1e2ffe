// Keys of every page: "/" searches, "?" shows the keys, "g" and a letter goes somewhere, Escape closes a question.

const destinations = new Map(
  [...document.querySelectorAll("a[data-key]")].map((link) => [link.dataset.key, link.href]),
);
let isGoing = false;

function isTyping(target) {
  return target.matches("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    const question = document.querySelector("details.ask[open]");
    if (question) {
      question.open = false;
      question.querySelector("summary").focus();
    }
    return;
  }
  if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (isGoing && destinations.has(event.key)) {
    location.href = destinations.get(event.key);
  } else if (event.key === "/") {
    event.preventDefault();
    document.getElementById("search")?.focus();
  } else if (event.key === "?") {
    document.getElementById("keys").showModal();
  }
  isGoing = event.key === "g";
});

document.addEventListener("click", (event) => {
  for (const question of document.querySelectorAll("details.ask[open]")) {
    if (!question.contains(event.target)) question.open = false;
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard.writeText(copy.dataset.copy).then(() => {
      copy.textContent = document.body.dataset.copied;
    });
  }
});
