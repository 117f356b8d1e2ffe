// Times as the viewer reads them: how long ago grows by itself, and the exact time shows on hover in the viewer's zone.

const [now, ago, ahead] = (document.body.dataset.timeWords ?? "now|%s ago|in %s").split("|");
const exact = new Intl.DateTimeFormat(document.documentElement.lang || undefined, {
  dateStyle: "medium",
  timeStyle: "long",
});

// The administration writes times on the server, in this zone (orchestrator/zones.py).
const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone;
const secure = location.protocol === "https:" ? "; secure" : "";
if (zone) document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax${secure}`;

function roughly(seconds) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${Math.floor(seconds)} s`;
}

function words(time) {
  const seconds = (Date.now() - time.getTime()) / 1000;
  if (seconds < -1) return ahead.replace("%s", roughly(-seconds));
  return seconds >= 1 ? ago.replace("%s", roughly(seconds)) : now;
}

function tell(element) {
  const time = new Date(element.dateTime);
  if (Number.isNaN(time.getTime())) return;
  const title = exact.format(time);
  if (element.title !== title) element.title = title;
  const text = words(time);
  if (element.textContent !== text) element.textContent = text;
}

function tellAll() {
  for (const element of document.querySelectorAll("time[datetime]")) tell(element);
}

tellAll();
setInterval(tellAll, 1000);
document.addEventListener("htmx:afterSettle", tellAll);
