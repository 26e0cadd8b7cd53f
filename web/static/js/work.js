// Forms with `data-work` ask for long work: the answer is lines of JSON, {"progress": [done, all]} …, and last
// {"done": address} or {"error": …}. Without this script the form is sent as any other.

// Calls `each` with every line of JSON of an answer, as it comes.
async function eachLine(answer, each) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    const lines = (rest + (value ?? "")).split("\n");
    rest = lines.pop();
    for (const line of lines) each(JSON.parse(line));
    if (done) return;
  }
}

// What an answer says that is a page: a refusal, in one line.
async function refusal(answer) {
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  return page.querySelector("main .lead")?.textContent ?? `the server answered ${answer.status}`;
}

function show(form, says, share) {
  const bar = form.querySelector("progress");
  form.querySelector("[role=status]").textContent = says;
  bar.hidden = share === null;
  if (share === undefined) bar.removeAttribute("value");
  else if (share !== null) bar.value = share;
}

async function work(form) {
  const answer = await fetch(form.action, {
    method: "POST",
    body: new FormData(form),
    headers: { Accept: "application/x-ndjson" },
  });
  if (answer.redirected) return location.assign(answer.url); // to sign in
  if (!answer.ok) throw new Error(await refusal(answer));
  let last = null;
  await eachLine(answer, (line) => {
    last = line;
    if (!line.progress) return;
    const [done, all] = line.progress;
    show(form, `${form.dataset.work}: ${done} of ${all} steps`, all ? done / all : 0);
  });
  if (last?.error) throw new Error(last.error.message);
  if (!last?.done) throw new Error("the answer broke off; the work goes on, load this page again in a while");
  show(form, "Done.", 1);
  const here = new URL(location.href);
  const there = new URL(last.done, here);
  if (there.pathname + there.search === here.pathname + here.search) return location.reload();
  return location.assign(there);
}

for (const form of document.querySelectorAll("form[data-work]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    form.removeAttribute("data-failed");
    show(form, `${form.dataset.work} …`, undefined);
    try {
      await work(form);
    } catch (error) {
      form.setAttribute("data-failed", "");
      show(form, `It did not work: ${error.message}`, null);
      button.disabled = false;
    }
  });
}
