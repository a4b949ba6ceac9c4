/** Draws the line of a gauge on a canvas. Its axes, marks and cursor are elements over it, so that a new sample draws nothing else. */
import type { PlotData } from '../series';

type Point = readonly [x: number, y: number];

export interface LineColours {
  line: string;
  soft: string;
}

export interface Frame {
  /** CSS pixels. */
  width: number;
  height: number;
  /** Seconds. */
  range: readonly [number, number];
  /** The value at the upper edge; zero is at the lower one. */
  top: number;
}

/** Room for half a line at both edges, in CSS pixels. */
const EDGE = 1;

/** The samples in places of the frame, cut wherever there is none. */
export function runsOf(times: number[], values: (number | null)[], { width, height, range, top }: Frame): Point[][] {
  const [from, to] = range;
  const across = width / Math.max(1e-9, to - from);
  const up = (height - 2 * EDGE) / Math.max(1e-9, top);
  const runs: Point[][] = [];
  let run: Point[] = [];
  for (let index = 0; index < times.length; index += 1) {
    const [at, value] = [times[index], values[index]];
    if (at === undefined || value === null || value === undefined) {
      if (run.length > 0) runs.push(run);
      run = [];
    } else run.push([(at - from) * across, height - EDGE - value * up]);
  }
  if (run.length > 0) runs.push(run);
  return runs;
}

function follow(path: Path2D, points: readonly Point[]): void {
  for (const [x, y] of points) path.lineTo(x, y);
}

/** Whatever stood there before is gone. Means (`data[2]` and `data[3]`) have a band from their least to their greatest sample, samples a
 * ground under them. */
export function drawLine(canvas: HTMLCanvasElement, data: PlotData, frame: Frame, colours: LineColours): void {
  const context = canvas.getContext('2d');
  if (context === null) return;
  const scale = devicePixelRatio;
  const [width, height] = [Math.round(frame.width * scale), Math.round(frame.height * scale)];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, frame.width, frame.height);
  const [times, values, lows, highs] = data;
  const [line, ground] = [new Path2D(), new Path2D()];
  const lower = runsOf(times, lows, frame);
  if (lower.length > 0) {
    const upper = runsOf(times, highs, frame);
    for (const [index, run] of lower.entries()) {
      const [first, ...rest] = [...run, ...[...(upper[index] ?? [])].reverse()];
      if (first === undefined) continue;
      ground.moveTo(...first);
      follow(ground, rest);
      ground.closePath();
    }
  }
  for (const run of runsOf(times, values, frame)) {
    const [first, last] = [run[0], run.at(-1)];
    if (first === undefined || last === undefined) continue;
    line.moveTo(...first);
    follow(line, run);
    if (lower.length > 0) continue;
    ground.moveTo(first[0], frame.height);
    follow(ground, run);
    ground.lineTo(last[0], frame.height);
    ground.closePath();
  }
  context.fillStyle = colours.soft;
  context.fill(ground);
  context.strokeStyle = colours.line;
  context.lineWidth = 1.25;
  context.lineJoin = 'round';
  context.stroke(line);
}
