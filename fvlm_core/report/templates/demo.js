"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const names = { coarse: "coarse pass", fine: "fine pass", coarse_only: "Coarse pass alone", coarse_fine: "Coarse and fine" };
  const most = Number(document.body.dataset.most);
  let file = null, frames = [], texts = {}, modes = [], canvases = {}, follow = true, watching = false;

  const tell = (text, wrong = false) => {
    get("state").textContent = text;
    get("state").classList.toggle("wrong", wrong);
  };

  const choose = (chosen) => {
    file = chosen;
    if (file) tell(`${file.name}, ${(file.size / 1e6).toFixed(1)} MB`);
  };
  get("file").addEventListener("change", () => choose(get("file").files[0] || null));
  const drop = get("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  drop.addEventListener("drop", (event) => choose(event.dataTransfer.files[0] || null));
  // A file that falls beside the field would replace the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

  if (navigator.mediaDevices) {
    get("camera").hidden = false;
    get("camera").addEventListener("click", () => (watching ? (watching = false) : live()));
  }

  async function live() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      tell(`The camera cannot be used: ${error.message}`, true);
      return;
    }
    const preview = get("preview"), button = get("camera"), start = button.textContent, sketch = document.createElement("canvas");
    const clip = crypto.randomUUID(), pause = 1000 / Number(document.body.dataset.fps), question = get("question").value;
    watching = true;
    button.textContent = "Stop the camera";
    get("go").disabled = true;
    [frames, texts, follow] = [[], {}, true];
    try {
      preview.srcObject = stream;
      preview.hidden = false;
      await preview.play();
      for (let at = 0; watching && at < Number(document.body.dataset.frames); at++) {
        const began = performance.now();
        [sketch.width, sketch.height] = [preview.videoWidth, preview.videoHeight];
        sketch.getContext("2d").drawImage(preview, 0, 0);
        const picture = await new Promise((done) => sketch.toBlob(done, "image/jpeg", 0.9));
        await send(`/live?${new URLSearchParams({ clip, at, question })}`, picture);
        // As many a second as in training at most; a slow model sees fewer.
        await new Promise((done) => setTimeout(done, Math.max(0, pause - (performance.now() - began))));
      }
      tell(`Done: ${frames.length} frames of the camera`);
    } catch (error) {
      tell(error.message, true);
    }
    for (const track of stream.getTracks()) track.stop();
    preview.hidden = true;
    preview.srcObject = null;
    watching = false;
    button.textContent = start;
    get("go").disabled = false;
  }

  async function send(address, body) {
    const answer = await fetch(address, { method: "POST", headers: { "X-Fvlm": "demo" }, body });
    if (!answer.ok) throw new Error((await answer.json()).text);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = "", done = false; !done;) {
      const piece = await reader.read();
      done = piece.done;
      const lines = (rest + (piece.value || "")).split("\n");
      rest = lines.pop();
      for (const line of lines) await take(JSON.parse(line));
    }
  }

  get("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!file) return tell("Choose a video or a picture first.", true);
    if (file.size > most) return tell(`The file has ${(file.size / 1e6).toFixed(0)} MB, and at most ${(most / 1e6).toFixed(0)} MB are taken.`, true);
    get("go").disabled = get("camera").disabled = true;
    [frames, texts, follow] = [[], {}, true];
    tell("Reading the file");
    try {
      await send(`/watch?${new URLSearchParams({ question: get("question").value })}`, file);
    } catch (error) {
      tell(error.message, true);
    }
    get("go").disabled = get("camera").disabled = false;
  });

  async function take(event) {
    if (event.kind === "error") throw new Error(event.text);
    if (event.kind === "clip") begin(event);
    if (event.kind === "done") tell(`Done: ${frames.length} frames in ${event.seconds} s`);
    if (event.kind === "frame") {
      event.image = new Image();
      event.image.src = event.picture;
      await event.image.decode();
      frames.push(event);
      get("at").max = frames.length;
      if (follow) show(frames.length - 1);
      tell(`Watching: frame ${frames.length} of ${get("at").dataset.frames}`);
    }
    if (event.kind === "text") {
      (texts[event.at] ||= {})[event.mode] = event;
      if (Number(get("at").value) - 1 === event.at) say(event.at);
    }
  }

  function begin(clip) {
    modes = clip.modes;
    canvases = {};
    get("seen").hidden = false;
    get("passes").replaceChildren();
    get("at").dataset.frames = clip.frames;
    get("said").replaceChildren(...modes.map((mode) => {
      const box = document.createElement("div");
      box.className = "answer";
      box.append(Object.assign(document.createElement("h3"), { textContent: modes.length > 1 ? names[mode] || mode : "Says" }));
      box.append(Object.assign(document.createElement("p"), { id: `said-${mode}` }));
      return box;
    }));
  }

  function canvas(name) {
    if (!canvases[name]) {
      const figure = document.createElement("figure"), made = document.createElement("canvas");
      made.width = made.height = 448;
      made.setAttribute("role", "img");
      made.setAttribute("aria-label", name === "frame" ? "The frame" : `Where the ${names[name] || name} looks`);
      figure.append(made, Object.assign(document.createElement("figcaption"), { textContent: name === "frame" ? "What it is shown" : `Where the ${names[name] || name} looks` }));
      get("passes").append(figure);
      canvases[name] = made;
    }
    return canvases[name].getContext("2d");
  }

  function show(at) {
    const frame = frames[at];
    if (!frame) return;
    get("at").value = at + 1;
    get("number").textContent = at + 1;
    get("speed").textContent = `${frame.ms} ms a frame and pass`;
    canvas("frame").drawImage(frame.image, 0, 0, 448, 448);
    for (const [name, heat] of Object.entries(frame.gaze)) {
      const ink = canvas(name), rows = heat.length, columns = heat[0].length;
      ink.globalCompositeOperation = "source-over";
      ink.filter = "grayscale(1) brightness(.45)";
      ink.drawImage(frame.image, 0, 0, 448, 448);
      ink.filter = "none";
      ink.globalCompositeOperation = "lighter";
      heat.forEach((row, y) => row.forEach((share, x) => {
        // The square root, so that a look that is spread out can be seen at all.
        const heat = Math.sqrt(share);
        ink.fillStyle = `rgb(${255 * heat} ${150 * heat * heat} ${40 * heat})`;
        const left = Math.round(x * 448 / columns), top = Math.round(y * 448 / rows);
        ink.fillRect(left, top, Math.round((x + 1) * 448 / columns) - left, Math.round((y + 1) * 448 / rows) - top);
      }));
    }
    say(at);
  }

  function say(at) {
    for (const mode of modes) {
      const event = (texts[at] || {})[mode];
      get(`said-${mode}`).textContent = event ? event.text : "";
    }
  }

  get("at").addEventListener("input", () => {
    follow = Number(get("at").value) === frames.length;
    show(Number(get("at").value) - 1);
  });
  document.body.dataset.ready = "";
})();
