/** The address of a page: `#/benchmarks/17`. */
export const pages = ['now', 'models', 'servers', 'memory', 'benchmarks', 'history', 'log'] as const;
export type Page = (typeof pages)[number];

export interface Route {
  page: Page;
  /** What follows the page: a run's number, a server's or a model's id. */
  detail: string | null;
}

export function parseRoute(hash: string): Route {
  const [page, detail] = hash.replace(/^#\/?/, '').split('/');
  const known = pages.find((candidate) => candidate === page);
  if (known === undefined) return { page: 'now', detail: null };
  return { page: known, detail: detail === undefined || detail === '' ? null : decode(detail) };
}

/** A hand-written address may hold a stray percent sign. */
function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function href(page: Page, detail?: string | number): string {
  return detail === undefined ? `#/${page}` : `#/${page}/${encodeURIComponent(detail)}`;
}

/** Follows the address bar. */
export class Router {
  route = $state<Route>({ page: 'now', detail: null });

  /** Returns the function that stops following. */
  start(): () => void {
    const update = () => (this.route = parseRoute(location.hash));
    update();
    addEventListener('hashchange', update);
    return () => removeEventListener('hashchange', update);
  }
}
