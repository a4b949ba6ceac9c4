import { describe, expect, it } from 'vitest';
import type { LogLine } from '../src/api/LogLine';
import { drawnRows, isProbe, itemsOf, levelOf } from '../src/log';

const line = (text: string, number = 1, source: LogLine['source'] = 'server'): LogLine => ({
  number,
  at: '2026-11-29T09:12:00Z',
  source,
  line: text,
});

describe('probes', () => {
  it.each([
    '[GIN] 2026/11/28 - 14:19:12 | 200 |       67.54µs |       127.0.0.1 | GET      "/api/version"',
    '[GIN] 2026/11/28 - 14:19:12 | 200 |      91.927µs |       127.0.0.1 | GET      "/api/ps"',
    '[GIN] 2026/11/28 - 14:19:12 | 200 |      91.927µs |       127.0.0.1 | GET      "/api/tags"',
    'srv  log_server_r: done request: GET /slots 127.0.0.1 200',
    '0.02.374.552 I srv  log_server_r: request: GET /health 127.0.0.1 200',
    'GET /props?model=SmolLM2&autoload=false',
    '2026-11-29 09:12:00 [DEBUG] Received request: GET /api/v0/models',
  ])('%s is one', (text) => expect(isProbe(line(text))).toBe(true));

  it.each([
    '[GIN] 2026/11/28 - 14:19:12 | 500 |  390.843521ms |       127.0.0.1 | POST     "/v1/chat/completions"',
    '[GIN] 2026/11/28 - 14:19:12 | 500 |      91.927µs |       127.0.0.1 | GET      "/api/ps"',
    'srv  log_server_r: done request: GET /health 127.0.0.1 503',
    'GET /healthy-food/recipes',
    'slot update_slots: id 0 | task 12 | prompt processing done',
  ])('%s is none', (text) => expect(isProbe(line(text))).toBe(false));

  it('are never what Pilothouse itself writes', () => {
    expect(isProbe(line('GET /health is not answered', 1, 'pilothouse'))).toBe(false);
  });

  it('in a row are one item, and open under it', () => {
    const probe = '[GIN] x | 200 | 1µs | 127.0.0.1 | GET "/api/ps"';
    const lines = [line('a', 1), line(probe, 2), line(probe, 3), line('b', 4), line(probe, 5)];
    const folded = itemsOf(lines, new Set());
    expect(folded.map((item) => (item.kind === 'line' ? item.line.number : `${item.count} of ${item.first}`))).toEqual([
      1,
      '2 of 2',
      4,
      '1 of 5',
    ]);
    const opened = itemsOf(lines, new Set([2]));
    expect(opened.map((item) => (item.kind === 'line' ? item.line.number : `${item.count} of ${item.first}`))).toEqual([
      1,
      '2 of 2',
      2,
      3,
      4,
      '1 of 5',
    ]);
  });
});

it.each([
  ['[49171] 0.02.374.552 W srv          stop: cancel task, id_task = 5', 'warning'],
  ['0.00.589.524 E srv          load: model is corrupted or incomplete', 'error'],
  ['0.00.589.524 I srv          load: errors none', null],
  ['time=2026-11-29T09:12:00Z level=ERROR source=sched.go:412 msg=x', 'error'],
  ['time=2026-11-29T09:12:00Z level=INFO source=sched.go:412 msg="no error: fine"', null],
  ['[GIN] 2026/11/28 - 14:19:12 | 500 |  390.8ms | 127.0.0.1 | POST "/v1/chat/completions"', 'error'],
  ['[GIN] 2026/11/28 - 14:19:12 | 404 |  1.8ms | 127.0.0.1 | POST "/v1/chat/completions"', 'warning'],
  ['[2026-11-29 09:12:00][ERROR] Failed to load', 'error'],
  ['error: could not open the file', 'error'],
  ['a model about errors', null],
])('the level of %s is %s', (text, level) => expect(levelOf(line(text))).toBe(level));

describe('rows that are drawn', () => {
  it.each([
    ['at the end', 10_000, { top: 0, height: 360, end: true }, [9950, 10_000]],
    ['at the begin', 10_000, { top: 0, height: 360, end: false }, [0, 50]],
    ['in the middle', 10_000, { top: 18 * 5000, height: 360, end: false }, [4970, 5050]],
    ['few', 7, { top: 0, height: 360, end: true }, [0, 7]],
    ['beyond its end', 100, { top: 18 * 500, height: 360, end: false }, [50, 100]],
    ['none', 0, { top: 0, height: 360, end: true }, [0, 0]],
  ])('%s', (_, count, box, rows) => expect(drawnRows(count, 18, box)).toEqual(rows));
});
