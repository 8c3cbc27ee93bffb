// What htmx does not do: sliders that follow their numbers, links with an address, and copying.
"use strict";

document.documentElement.classList.add("script");

function field(slider) {
  return document.getElementById(slider.dataset.field);
}

function toNumber(slider) {
  const value = Number(slider.value);
  return "log" in slider.dataset ? Number((10 ** value).toPrecision(3)) : value;
}

function showNumber(slider) {
  const number = field(slider);
  const value = number.value === "" ? ("log" in slider.dataset ? 10 ** slider.max : 0) : Number(number.value);
  slider.value = "log" in slider.dataset ? Math.log10(Math.max(value, 1e-9)) : value;
  slider.setAttribute("aria-valuetext", number.value === "" ? "not set" : number.value);
}

function prepare(root) {
  root.querySelectorAll("input[type=range]").forEach(showNumber);
  const link = document.getElementById("link");
  if (link && link.value.startsWith("/")) link.value = location.origin + link.value;
}

// Before the form hears of it, since it sends the number.
document.addEventListener("input", (event) => {
  const moved = event.target;
  if (moved.matches("input[type=range]")) {
    field(moved).value = toNumber(moved);
    moved.setAttribute("aria-valuetext", field(moved).value);
  } else {
    const slider = document.getElementById(`${moved.id}-slider`);
    if (slider) showNumber(slider);
  }
}, { capture: true });

async function copy(source) {
  if (navigator.clipboard) return navigator.clipboard.writeText(source.value ?? source.textContent);
  // Browsers give a clipboard only to pages of this computer and of https.
  if (source.select) source.select();
  else getSelection().selectAllChildren(source);
  document.execCommand("copy");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await copy(source);
  const text = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = text; }, 1500);
});

// What was unfolded stays so.
let unfolded = [];
document.addEventListener("htmx:beforeSwap", () => {
  unfolded = [...document.querySelectorAll("details[open][id]")].map((one) => one.id);
});
document.addEventListener("htmx:afterSwap", () => {
  unfolded.forEach((id) => document.getElementById(id)?.setAttribute("open", ""));
  prepare(document);
});
document.addEventListener("htmx:sendError", () => {
  document.getElementById("results").replaceChildren(
    Object.assign(document.createElement("p"), { className: "problems card", role: "alert", textContent: "The playground does not answer: is it still running?" }),
  );
});
prepare(document);
