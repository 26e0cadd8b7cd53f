// Light, dark, or as the system is: kept in a cookie that the server reads, so that no page flashes.
const root = document.documentElement;
const button = document.querySelector("button.theme");
const NEXT = { system: "light", light: "dark", dark: "system" };
const NAMES = { system: "as the system", light: "light", dark: "dark" };

function show() {
  const now = root.dataset.theme || "system";
  button.setAttribute("aria-label", `Colours: ${NAMES[now]}. Change to ${NAMES[NEXT[now]]}`);
  button.dataset.theme = now;
}

if (button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const next = NEXT[root.dataset.theme || "system"];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    const age = next === "system" ? 0 : 31536000;
    document.cookie = `samespace-theme=${next}; path=/; max-age=${age}; samesite=lax${location.protocol === "https:" ? "; secure" : ""}`;
    show();
    document.dispatchEvent(new Event("themechange"));
  });
  show();
}
