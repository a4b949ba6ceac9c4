/** What was told before, as the engine keeps it: invented. */
import type { Call } from '../../api/Call';
import type { Notice } from '../../api/Notice';
import type { Reply } from '../../api/Reply';

/** Of today the notices of the snapshot; before them a recovery every few hours. */
export function eventsOf(call: Extract<Call, { call: 'events' }>, notices: Notice[], now: number): Reply {
  const newest = notices[0]?.id ?? 120;
  const past = Array.from({ length: Math.max(0, newest - notices.length) }, (_, index) =>
    recovery(newest - notices.length - index, now - (index + 1) * 9_000_000),
  );
  const found = [...notices, ...past].filter(
    (one) =>
      (call.server === undefined || one.server === call.server) &&
      (call.level === undefined || one.level === call.level) &&
      (call.kind === undefined || one.kind === call.kind),
  );
  const from = call.offset ?? 0;
  const total = found.length;
  return { reply: 'events', events: found.slice(from, from + (call.limit ?? 50)), total };
}

function recovery(id: number, at: number): Notice {
  const [server, title] = id % 3 === 0 ? ['llama-server', 'llama-server'] : ['ollama', 'Ollama'];
  return {
    id: id,
    at: new Date(at).toISOString(),
    level: 'info',
    kind: 'server',
    title: `${title} is back`,
    body: 'It ended by itself (signal 9) and answers again after 1.2 s.',
    hint: null,
    server,
    acts: [{ act: 'show_log', server }],
    own: false,
  };
}
