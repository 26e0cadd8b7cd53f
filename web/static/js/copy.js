// A button beside each command and secret that copies it, where the browser lets pages write to the clipboard.
const SHOWN_MS = 2000;

function addButton(holder) {
  const text = holder.querySelector("code").textContent;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet";
  button.textContent = "Copy";
  button.setAttribute("aria-label", `Copy: ${holder.dataset.says || text}`);
  const told = document.createElement("span");
  told.className = "note";
  told.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    told.textContent = await copied(text) ? "copied" : "not copied: select it by hand";
    setTimeout(() => { told.textContent = ""; }, SHOWN_MS);
  });
  holder.append(button, told);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

if (navigator.clipboard) document.querySelectorAll(".copyable").forEach(addButton);
