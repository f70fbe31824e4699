// The test clip: shapes that drift, turn and breathe, so that there is something to look at without a camera.

const SIZE = 512;
const FRAME_RATE = 30;

/** A video stream of the moving shapes, and a way to end it. */
export function testClip() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIZE;
  const context = canvas.getContext("2d", { alpha: false });
  draw(context, 0);
  const start = performance.now();
  // A timer goes on in the background, where animation frames stop.
  const timer = setInterval(() => draw(context, (performance.now() - start) / 1000), 1000 / FRAME_RATE);
  const stream = canvas.captureStream(FRAME_RATE);
  return { stream, end: () => { clearInterval(timer); endTracks(stream); } };
}

export async function camera() {
  const video = { width: { ideal: 768 }, height: { ideal: 768 }, frameRate: { ideal: FRAME_RATE } };
  const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
  return { stream, end: () => endTracks(stream) };
}

export async function screen() {
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: FRAME_RATE }, audio: false });
  return { stream, end: () => endTracks(stream) };
}

function endTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

function draw(context, seconds) {
  sky(context, seconds);
  hills(context, seconds);
  for (let index = 0; index < 5; index++) orb(context, seconds, index);
  petals(context, seconds);
}

function sky(context, seconds) {
  const gradient = context.createLinearGradient(0, 0, 0, SIZE);
  gradient.addColorStop(0, `hsl(${(230 + 20 * Math.sin(seconds / 5)) | 0} 45% 22%)`);
  gradient.addColorStop(1, `hsl(${(20 + 15 * Math.sin(seconds / 7)) | 0} 60% 55%)`);
  context.fillStyle = gradient;
  context.fillRect(0, 0, SIZE, SIZE);
}

function hills(context, seconds) {
  for (const [depth, base] of [[1, 350], [2, 410]]) {
    context.fillStyle = `hsl(${250 - 30 * depth} 30% ${30 - 9 * depth}%)`;
    context.beginPath();
    context.moveTo(0, SIZE);
    for (let x = 0; x <= SIZE; x += 8) {
      const wave = Math.sin(x / (70 + 30 * depth) + seconds * 0.4 * depth) * 26;
      context.lineTo(x, base + wave + Math.sin(x / 37) * 10);
    }
    context.lineTo(SIZE, SIZE);
    context.fill();
  }
}

function orb(context, seconds, index) {
  const angle = seconds * (0.35 + 0.09 * index) + index * 1.7;
  const x = SIZE / 2 + Math.cos(angle) * (110 + 22 * index);
  const y = SIZE / 2.6 + Math.sin(angle * 1.3) * (60 + 14 * index);
  const radius = 20 + 7 * index + 5 * Math.sin(seconds * 2 + index);
  const gradient = context.createRadialGradient(x - radius / 3, y - radius / 3, 2, x, y, radius);
  gradient.addColorStop(0, `hsl(${index * 68} 90% 82%)`);
  gradient.addColorStop(1, `hsl(${index * 68} 70% 45%)`);
  context.fillStyle = gradient;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function petals(context, seconds) {
  context.save();
  context.translate(SIZE / 2, SIZE / 2);
  context.rotate(seconds / 3);
  for (let index = 0; index < 6; index++) {
    context.rotate(Math.PI / 3);
    context.fillStyle = `hsl(${330 + 12 * index} 75% 66%)`;
    context.beginPath();
    context.ellipse(0, -58, 22, 46 + 8 * Math.sin(seconds * 1.5), 0, 0, 2 * Math.PI);
    context.fill();
  }
  context.fillStyle = "hsl(45 90% 65%)";
  context.beginPath();
  context.arc(0, 0, 26, 0, 2 * Math.PI);
  context.fill();
  context.restore();
}
