/** Pure questions about the page Events: what its address says. */
import type { Call } from './api/Call';
import type { NoticeKind } from './api/NoticeKind';
import type { NoticeLevel } from './api/NoticeLevel';
import type { Query } from './route.svelte';
import { noticeKinds, noticeLevels } from './text';

export const PAGE = 50;

/** What is chosen on the page. Empty: all. */
export interface EventView {
  server: string;
  level: NoticeLevel | '';
  kind: NoticeKind | '';
  /** From 0. */
  page: number;
}

/** What an address says; what it cannot mean is as if it were not there. */
export function eventViewOf(query: Query): EventView {
  const page = Number(query.page ?? 1);
  const isLevel = (text: string | undefined): text is NoticeLevel => text !== undefined && text in noticeLevels;
  const isKind = (text: string | undefined): text is NoticeKind => text !== undefined && text in noticeKinds;
  return {
    server: query.server ?? '',
    level: isLevel(query.level) ? query.level : '',
    kind: isKind(query.kind) ? query.kind : '',
    page: Number.isInteger(page) && page > 0 ? page - 1 : 0,
  };
}

/** The same as an address has it: only what is not as usual. */
export function eventQueryOf(view: EventView): Query {
  const query: Query = {};
  for (const key of ['server', 'level', 'kind'] as const) if (view[key] !== '') query[key] = view[key];
  if (view.page > 0) query.page = String(view.page + 1);
  return query;
}

export function eventCallOf(view: EventView): Extract<Call, { call: 'events' }> {
  return {
    call: 'events',
    limit: PAGE,
    offset: view.page * PAGE,
    ...(view.server !== '' && { server: view.server }),
    ...(view.level !== '' && { level: view.level }),
    ...(view.kind !== '' && { kind: view.kind }),
  };
}
