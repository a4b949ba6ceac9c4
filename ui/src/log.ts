/** Pure questions about the lines of a server's log. */
import type { LogLine } from './api/LogLine';

export type LogLevel = 'error' | 'warning';

/** What is asked again and again to see whether a server is well: by Pilothouse, and by others that do as it does. */
const PROBE =
  /\bGET\s+"?\/(?:health|slots|props|models|v1\/models|api\/(?:version|ps|tags|v0\/models|v1\/models))(?=["?\s]|$)/;
/** The status of an answer, as Ollama and llama-server write it. */
const STATUS = /(?:\|\s*|\s)([1-5]\d\d)(?:\s*\||\s*$)/;

/** A question for the server's health or lists that went well. One that failed is worth reading. */
export function isProbe({ source, line }: LogLine): boolean {
  if (source !== 'server' || !PROBE.test(line)) return false;
  const status = Number(STATUS.exec(line)?.[1] ?? 200);
  return status < 400;
}

/** How bad a line is, as its server marks it: null where it says nothing of the kind. */
export function levelOf({ source, line }: Pick<LogLine, 'source' | 'line'>): LogLevel | null {
  if (source !== 'server') return null;
  // llama-server: "[49171] 0.02.374.552 W srv stop: …"
  const letter = /^(?:\[\d+\]\s+)?\d+\.\d+\.\d+\.\d+\s+([A-Z])\s/.exec(line)?.[1];
  if (letter !== undefined) return letter === 'E' ? 'error' : letter === 'W' ? 'warning' : null;
  // Ollama: "time=… level=WARN source=…", "[GIN] … | 500 | …"
  const word = /\blevel=(\w+)/.exec(line)?.[1] ?? /\[(ERROR|WARN|WARNING|INFO|DEBUG)\]/i.exec(line)?.[1];
  if (word !== undefined) return /^err|^fatal|^panic/i.test(word) ? 'error' : /^warn/i.test(word) ? 'warning' : null;
  if (line.includes('[GIN]')) {
    const status = Number(STATUS.exec(line)?.[1] ?? 0);
    return status >= 500 ? 'error' : status >= 400 ? 'warning' : null;
  }
  if (/^\s*(?:error|fatal|panic)\b|\berror:/i.test(line)) return 'error';
  return /^\s*warn(?:ing)?\b|\bwarning:/i.test(line) ? 'warning' : null;
}

export type LogItem =
  | { kind: 'line'; line: LogLine; level: LogLevel | null }
  /** `first`: the number of its first line, by which it is opened. */
  | { kind: 'probes'; first: number; count: number; at: string; open: boolean };

/** The lines as they are drawn: probes in a row are one item, under which they stand once it is opened. */
export function itemsOf(lines: LogLine[], open: ReadonlySet<number>): LogItem[] {
  const items: LogItem[] = [];
  let fold: Extract<LogItem, { kind: 'probes' }> | null = null;
  for (const line of lines) {
    if (!isProbe(line)) {
      fold = null;
      items.push({ kind: 'line', line, level: levelOf(line) });
      continue;
    }
    if (fold === null) {
      fold = { kind: 'probes', first: line.number, count: 0, at: line.at, open: open.has(line.number) };
      items.push(fold);
    }
    fold.count += 1;
    if (fold.open) items.push({ kind: 'line', line, level: null });
  }
  return items;
}

/** Which rows are drawn: those in sight and some around them. `end`: the box stands at its end. */
export function drawnRows(
  count: number,
  rowHeight: number,
  box: { top: number; height: number; end: boolean },
  around = 30,
): [number, number] {
  const fits = Math.ceil(box.height / rowHeight);
  const first = box.end ? count - fits : Math.floor(box.top / rowHeight);
  const from = Math.max(0, Math.min(first, count - fits) - around);
  return [from, Math.min(count, Math.max(first, 0) + fits + around)];
}
