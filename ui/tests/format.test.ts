import { describe, expect, it } from 'vitest';
import {
  about,
  age,
  bytes,
  count,
  cutInMiddle,
  dotted,
  duration,
  figure,
  moment,
  percent,
  shortMoment,
  spanOf,
} from '../src/format';

const plain = (text: string) => text.replaceAll('\u00a0', ' ');

describe('figures', () => {
  it.each([
    [0, '0'],
    [0.712345, '0.712'],
    [4.3, '4.30'],
    [58.24, '58.2'],
    [99.96, '100'],
    [812.4, '812'],
    [1234, '1230'],
    [12_345, '12300'],
  ])('%s has three digits: %s', (value, text) => expect(figure(value)).toBe(text));

  it.each([
    [0, '0 B'],
    [512, '512 B'],
    [98.4e6, '98.4 MB'],
    [999.6e6, '1.00 GB'],
    [16.8e9, '16.8 GB'],
    [1.5e12, '1.50 TB'],
  ])('%s bytes: %s', (value, text) => expect(plain(bytes(value))).toBe(text));

  it.each([
    [0, '0 %'],
    [0.4, '0.4 %'],
    [9.96, '10 %'],
    [84.4, '84 %'],
  ])('%s percent: %s', (value, text) => expect(plain(percent(value))).toBe(text));
});

describe('times', () => {
  it.each([
    [41.23, '41.2 ms'],
    [999.7, '1.00 s'],
    [12_340, '12.3 s'],
    [82_000, '1 min 22 s'],
    [3_723_000, '1 h 2 min'],
  ])('%s ms: %s', (ms, text) => expect(plain(duration(ms))).toBe(text));

  it('says that an estimate is one', () => {
    expect(plain(about(6.2))).toBe('about 6 s');
    expect(plain(about(0.3))).toBe('under 1 s');
    expect(plain(about(180))).toBe('about 3 min');
  });

  it('tells ages coarsely', () => {
    expect(plain(age(12_400))).toBe('12 s ago');
    expect(plain(age(-5))).toBe('0 s ago');
    expect(plain(age(7_300_000))).toBe('2 h ago');
  });

  it('names near days by word', () => {
    const now = new Date(2026, 10, 23, 18, 0).getTime();
    const at = (day: number, hour: number) => new Date(2026, 10, day, hour, 12).toISOString();
    expect(moment(at(23, 9), now)).toBe('today 09:12');
    expect(moment(at(22, 23), now)).toBe('yesterday 23:12');
    expect(moment(at(3, 9), now)).toBe('3 Nov 09:12');
    expect(moment(new Date(2025, 10, 3).toISOString(), now)).toBe('3 Nov 2025');
    expect(moment('no time', now)).toBe('no time');
  });
});

it('joins what is known', () => {
  expect(dotted('Ollama', null, false, '', 'Q4_1')).toBe('Ollama · Q4_1');
  expect(plain(count(1, 'trial'))).toBe('1 trial');
  expect(plain(count(2, 'trial'))).toBe('2 trials');
});

describe('a name that is cut in the middle', () => {
  const family = '👩‍👩‍👧‍👦';
  it.each([
    ['short.gguf', ['short.gguf', '']],
    [
      'hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL',
      ['hf.co/unsloth/Qwen3-30B-A3B-Instruct-2507-GG', 'UF:UD-Q4_K_XL'.slice(-12)],
    ],
    [family.repeat(20), [family.repeat(8), family.repeat(12)]],
    ['', ['', '']],
  ])('%s keeps its end, and its letters whole', (name, parts) => {
    const cut = cutInMiddle(name);
    expect(cut.join('')).toBe(name);
    expect(cut[1]).toBe(parts[1]);
  });
});

it.each([
  [0, '0\u00a0seconds'],
  [1, '1\u00a0second'],
  [45, '45\u00a0seconds'],
  [240, '4\u00a0minutes'],
  [3 * 3600, '3\u00a0hours'],
  [12 * 86_400, '12\u00a0days'],
])('%d seconds are said as %s', (seconds, words) => expect(spanOf(seconds)).toBe(words));

it('a moment in a column is as short as it can be', () => {
  const now = new Date(2026, 10, 29, 15).getTime();
  const of = (...parts: [number, number, number, number, number]) => shortMoment(new Date(...parts).toISOString(), now);
  expect(of(2026, 10, 29, 14, 29)).toBe('14:29');
  expect(of(2026, 10, 14, 9, 5)).toBe('14 Nov');
  expect(of(2025, 10, 14, 9, 5)).toBe('Nov 2025');
  expect(shortMoment('nonsense', now)).toBe('nonsense');
});
