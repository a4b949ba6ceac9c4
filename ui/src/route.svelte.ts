/** The address of a page: `#/benchmarks/17`, `#/history?plan=quick&page=3`. */
export const pages = [
  'now',
  'models',
  'scenes',
  'traffic',
  'memory',
  'servers',
  'benchmarks',
  'history',
  'connect',
  'settings',
  'events',
  'log',
] as const;
export type Page = (typeof pages)[number];

/** As the rail groups them. The first ten are reached by 1 to 9 and 0; the last two also from Now and from their server. */
export const pageGroups: readonly (readonly Page[])[] = [
  pages.slice(0, 4),
  pages.slice(4, 8),
  pages.slice(8, 10),
  pages.slice(10),
];

/** The key that leads to a page; null: it has none. */
export function keyOf(page: Page): string | null {
  const at = pages.indexOf(page);
  return at < 10 ? String((at + 1) % 10) : null;
}

export interface Route {
  page: Page;
  /** What follows the page: a run's number, a server's or a model's id. */
  detail: string | null;
  /** How the page is shown: its filters and the like. */
  query: Query;
}

/** What follows the question mark. */
export type Query = Record<string, string>;

export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const [page, detail] = path.split('/');
  const known = pages.find((candidate) => candidate === page);
  if (known === undefined) return { page: 'now', detail: null, query: {} };
  return {
    page: known,
    detail: detail === undefined || detail === '' ? null : decode(detail),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

/** A hand-written address may hold a stray percent sign. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(page: Page, detail?: string | number, query: Query = {}): string {
  const path = detail === undefined ? `#/${page}` : `#/${page}/${encodeURIComponent(detail)}`;
  const asked = new URLSearchParams(query).toString();
  return asked === '' ? path : `${path}?${asked}`;
}

/** Follows the address bar. */
export class Router {
  route = $state<Route>({ page: 'now', detail: null, query: {} });

  /** Returns the function that stops following. */
  start(): () => void {
    const update = () => (this.route = parseRoute(location.hash));
    update();
    addEventListener('hashchange', update);
    return () => removeEventListener('hashchange', update);
  }
}
