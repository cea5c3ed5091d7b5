"use strict";
let tag = null;
async function look() {
  try {
    const answer = await fetch("/", { cache: "no-store", headers: tag ? { "If-None-Match": tag } : {} });
    if (answer.status === 200) {
      tag = answer.headers.get("ETag");
      show(new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("page"));
    }
    document.getElementById("lost").hidden = true;
  } catch {
    document.getElementById("lost").hidden = false;
  }
  setTimeout(look, 1000);
}
// Parts that are the same stay as they are, with what is selected in them or scrolled.
function show(fresh) {
  const page = document.getElementById("page");
  const ids = (one) => [...one.children].map((part) => part.id).join();
  if (ids(page) !== ids(fresh)) {
    page.replaceWith(fresh);
    return;
  }
  const parts = [...fresh.children];
  [...page.children].forEach((old, i) => {
    if (old.innerHTML !== parts[i].innerHTML) old.replaceWith(parts[i]);
  });
}
look();
