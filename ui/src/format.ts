/** How numbers and times are written. Every figure has three significant digits and its unit. */

const NBSP = '\u00a0';

/** Three significant figures: 58.2, 812, 0.710, 1230. */
export function figure(value: number): string {
  if (value === 0) return '0';
  const rounded = Number(value.toPrecision(3));
  if (Math.abs(rounded) >= 100) return String(Math.round(rounded));
  return rounded.toPrecision(3);
}

/** Bytes in decimal units (GB = 10^9), as disks and the engine count them. */
export function bytes(value: number): string {
  const units: [number, string][] = [
    [1e12, 'TB'],
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ];
  for (const [size, unit] of units) {
    // 999.6 MB would be written as "1000 MB": it belongs to the next unit.
    if (value >= size * 0.9995) return `${figure(value / size)}${NBSP}${unit}`;
  }
  return `${Math.round(value)}${NBSP}B`;
}

/** Tenths of a GB without the unit, for a row of figures that has it once: "8.6"; what is less is not written as none. */
export function tenths(value: number): string {
  return value > 0 && value < 0.05e9 ? '<0.1' : (value / 1e9).toFixed(1);
}

/** Percent, 0 to 100; one decimal below ten, where it matters. */
export function percent(value: number): string {
  return `${value < 9.95 && value !== 0 ? value.toFixed(1) : Math.round(value)}${NBSP}%`;
}

export function watts(value: number): string {
  return `${figure(value)}${NBSP}W`;
}

export function tokensPerSecond(value: number): string {
  return `${figure(value)}${NBSP}tok/s`;
}

/** Temperature and clock are told in whole units. */
export function degrees(value: number): string {
  return `${Math.round(value)}${NBSP}°C`;
}

export function megahertz(value: number): string {
  return `${Math.round(value)}${NBSP}MHz`;
}

/** A duration in the unit that people would say. */
export function duration(ms: number): string {
  if (ms < 999.5) return `${figure(ms)}${NBSP}ms`;
  if (ms < 60_000) return `${figure(ms / 1000)}${NBSP}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${NBSP}min ${seconds % 60}${NBSP}s`;
  return `${Math.floor(seconds / 3600)}${NBSP}h ${Math.floor((seconds % 3600) / 60)}${NBSP}min`;
}

/** An estimate looks like one: "about 6 s". */
export function about(seconds: number): string {
  if (seconds < 1) return `under 1${NBSP}s`;
  return seconds < 90 ? `about ${Math.round(seconds)}${NBSP}s` : `about ${Math.round(seconds / 60)}${NBSP}min`;
}

/** How long ago, coarse: it stands beside values that are older than they should be. */
export function age(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds}${NBSP}s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)}${NBSP}min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}${NBSP}h ago`;
  return `${Math.floor(seconds / 86_400)}${NBSP}d ago`;
}

/** Clock time with seconds, local, 24 hours. By hand: it is asked for with every sample, and Intl takes its time. */
export function clock(at: string | number | Date): string {
  const date = new Date(at);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((of) => String(of).padStart(2, '0')).join(':');
}

/** "today 09:12", "yesterday 18:40", "12 Nov 09:12", "12 Nov 2025". */
export function moment(at: string, now: number = Date.now()): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  const time = clock(date).slice(0, 5);
  const today = new Date(now);
  const days = Math.round((midnight(today) - midnight(date)) / 86_400_000);
  if (days === 0) return `today ${time}`;
  if (days === 1) return `yesterday ${time}`;
  const day = date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
  return date.getFullYear() === today.getFullYear() ? `${day} ${time}` : `${day} ${date.getFullYear()}`;
}

function midnight(date: Date): number {
  return new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime();
}

/** "1 restart", "2 restarts". */
export function count(n: number, one: string, many: string = `${one}s`): string {
  return `${n}${NBSP}${n === 1 ? one : many}`;
}

/** Joins what is known with middle dots. */
export function dotted(...parts: (string | null | undefined | false)[]): string {
  return parts.filter((part): part is string => typeof part === 'string' && part !== '').join(' · ');
}

/** A size in GB without the unit, three significant figures, for a column whose head has it. */
export function gigabytes(value: number): string {
  return figure(value / 1e9);
}

/** As short as a column has room for: "14:29" today, "14 Nov" this year, "Nov 2025" before. */
export function shortMoment(at: string, now: number = Date.now()): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  const today = new Date(now);
  if (midnight(today) === midnight(date)) return clock(date).slice(0, 5);
  const sameYear = date.getFullYear() === today.getFullYear();
  return date.toLocaleDateString(
    'en-GB',
    sameYear ? { day: 'numeric', month: 'short' } : { month: 'short', year: 'numeric' },
  );
}

/** Thousands kept apart: "32,768". */
export function whole(value: number): string {
  return Math.round(value).toLocaleString('en-GB');
}

/** A text in two parts, the second of which always stays in sight: letters that belong together are never parted. */
export function cutInMiddle(text: string, kept = 12): [string, string] {
  const letters = [...new Intl.Segmenter().segment(text)].map(({ segment }) => segment);
  if (letters.length <= kept + 4) return [text, ''];
  return [letters.slice(0, -kept).join(''), letters.slice(-kept).join('')];
}

/** A span of time as people say it, whole: "40 seconds", "4 minutes", "3 hours", "12 days". */
export function spanOf(seconds: number): string {
  const say = (n: number, unit: string) => count(n, unit);
  if (seconds < 100) return say(Math.round(seconds), 'second');
  if (seconds < 5400) return say(Math.round(seconds / 60), 'minute');
  if (seconds < 129_600) return say(Math.round(seconds / 3600), 'hour');
  return say(Math.round(seconds / 86_400), 'day');
}
