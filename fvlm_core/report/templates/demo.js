"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const names = { coarse: "coarse pass", fine: "fine pass", coarse_only: "Coarse pass alone", coarse_fine: "Coarse and fine" };
  const most = Number(document.body.dataset.most);
  let file = null, frames = [], texts = {}, modes = [], canvases = {}, follow = true;

  const tell = (text, wrong = false) => {
    get("state").textContent = text;
    get("state").classList.toggle("wrong", wrong);
  };

  const choose = (chosen) => {
    file = chosen;
    if (file) tell(`${file.name || "the recording"}, ${(file.size / 1e6).toFixed(1)} MB`);
  };
  get("file").addEventListener("change", () => choose(get("file").files[0] || null));
  const drop = get("drop");
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.add("over"); });
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.remove("over"); });
  drop.addEventListener("drop", (event) => choose(event.dataTransfer.files[0] || null));
  // A file that falls beside the field would replace the page.
  for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

  if (navigator.mediaDevices && window.MediaRecorder) {
    get("camera").hidden = false;
    get("camera").addEventListener("click", record);
  }

  async function record() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      tell(`The camera cannot be used: ${error.message}`, true);
      return;
    }
    const preview = get("preview"), parts = [];
    preview.srcObject = stream;
    preview.hidden = false;
    await preview.play();
    const recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    const ended = new Promise((done) => recorder.addEventListener("stop", done));
    recorder.start();
    get("camera").disabled = true;
    for (let left = 4; left; left--) {
      tell(`Recording, ${left} s left`);
      await new Promise((done) => setTimeout(done, 1000));
    }
    recorder.stop();
    await ended;
    for (const track of stream.getTracks()) track.stop();
    preview.hidden = true;
    preview.srcObject = null;
    get("camera").disabled = false;
    choose(new Blob(parts, { type: recorder.mimeType }));
  }

  get("ask").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!file) return tell("Choose a video or a picture first.", true);
    if (file.size > most) return tell(`The file has ${(file.size / 1e6).toFixed(0)} MB, and at most ${(most / 1e6).toFixed(0)} MB are taken.`, true);
    get("go").disabled = true;
    [frames, texts, follow] = [[], {}, true];
    tell("Reading the file");
    try {
      const asked = new URLSearchParams({ question: get("question").value });
      const answer = await fetch(`/watch?${asked}`, { method: "POST", headers: { "X-Fvlm": "demo" }, body: file });
      if (!answer.ok) throw new Error((await answer.json()).text);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", done = false; !done;) {
        const piece = await reader.read();
        done = piece.done;
        const lines = (rest + (piece.value || "")).split("\n");
        rest = lines.pop();
        for (const line of lines) await take(JSON.parse(line));
      }
    } catch (error) {
      tell(error.message, true);
    }
    get("go").disabled = false;
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
