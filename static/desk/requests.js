// Requests of the page that come to nothing: say so, where htmx alone says nothing. What somebody typed stays as it is.
//
// Who logs in again in another tab has a new token against forgery; this page takes it over, so that the same button
// works when it is pressed again.

const body = document.body;
export const [noAnswer, loginWords] = body.dataset.failureWords.split("|");

export function token() {
  return JSON.parse(body.getAttribute("hx-headers"))["X-CSRFToken"];
}

export function loginLink() {
  const link = document.createElement("a");
  link.href = "/login";
  link.target = "_blank";
  link.textContent = loginWords;
  return link;
}

function say(sentence, isLogin = false) {
  const messages = document.getElementById("messages");
  const shown = document.createElement("p");
  shown.className = "message error";
  shown.dataset.failure = "";
  shown.textContent = sentence;
  if (isLogin) shown.append(" ", loginLink());
  messages.querySelector("[data-failure]")?.remove();
  messages.append(shown);
}

function detailOf(answer) {
  try {
    return JSON.parse(answer.responseText).detail ?? answer.statusText;
  } catch {
    return answer.statusText;
  }
}

// What the page asks for by itself is asked for again; until then the pulse beside the search says how it stands.
function isOfItself({ triggeringEvent }) {
  return !triggeringEvent || ["desk-changed", "load", "revealed"].includes(triggeringEvent.type);
}

document.addEventListener("htmx:responseError", ({ detail: { xhr, requestConfig } }) => {
  if (xhr.status === 401) say(detailOf(xhr), true);
  else if (!isOfItself(requestConfig)) say(detailOf(xhr));
});

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, ({ detail: { requestConfig } }) => {
    if (!isOfItself(requestConfig)) say(noAnswer);
  });
}

function takeToken() {
  const token = document.cookie.match(/(?:^|; )csrftoken=([^;]+)/)?.[1];
  if (document.hidden || !token) return;
  body.setAttribute("hx-headers", JSON.stringify({ "X-CSRFToken": token }));
  for (const field of document.querySelectorAll("[name=csrfmiddlewaretoken]")) field.value = token;
}

document.addEventListener("visibilitychange", takeToken);
