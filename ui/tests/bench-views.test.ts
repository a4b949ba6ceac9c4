import { render, screen, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import type { Component } from 'svelte';
import { describe, expect, it, vi } from 'vitest';
import type { BenchProgress as Progress } from '../src/api/BenchProgress';
import type { Reply } from '../src/api/Reply';
import { FakeBackend } from '../src/backend/fake/backend';
import { comparisonOf, compiler, detailOf, pair, run } from '../src/backend/fake/bench';
import { planRun } from '../src/backend/fake/bench-plans';
import { Store } from '../src/store.svelte';
import BenchControl from '../src/views/BenchControl.svelte';
import BenchProgress from '../src/views/BenchProgress.svelte';
import ComparisonPage from '../src/views/ComparisonPage.svelte';
import RunPage from '../src/views/RunPage.svelte';
import { ScriptedBackend, snapshotOf, TestVisibility } from './support';

const plain = (text: string | null | undefined) => text?.replaceAll(/\s+/g, ' ').trim();

function show<P extends Record<string, unknown>>(
  component: Component<P>,
  props: P,
  backend: ScriptedBackend | FakeBackend,
) {
  const store = new Store(backend, new TestVisibility());
  store.snapshot = snapshotOf('gpu');
  render(component, { props, context: new Map([['store', store]]) } as never);
  return store;
}

describe('the plan picker', () => {
  const choose = (testid: string, value: string) => userEvent.selectOptions(screen.getByTestId(testid), value);
  const does = () => plain(screen.getByTestId('bench-does').textContent);

  it('says what the chosen plan does, how long it takes and what is loaded first', async () => {
    const known = run(5, 0, 'llama-server', 'SmolLM2-135M-Instruct.Q4_1', 64, 10);
    show(BenchControl, { runs: [known] }, new ScriptedBackend());
    expect(does()).toMatch(/^Short prompts.* Takes about \d+ s\. Nothing is switched or loaded beside it/);
    await choose('bench-plan', 'sweep');
    expect(does()).toMatch(/Takes \d+ s to \d+ min\. Nothing/);
    await choose('bench-model', 'ollama/llama3.1:8b');
    expect(does()).toMatch(
      /Takes a minute or two\. Loads Llama 3\.1 8B Instruct first; afterwards memory is as before\./,
    );
  });

  it('asks for the other side of a comparison, which may be the same model', async () => {
    const backend = new ScriptedBackend();
    show(BenchControl, {}, backend);
    await choose('bench-plan', 'ab');
    expect(screen.getByTestId('bench-start').hasAttribute('disabled')).toBe(true);
    const id = 'llama-server/SmolLM2-135M-Instruct.Q4_1';
    expect(plain(within(screen.getByTestId('bench-other')).getByText(/^itself/).textContent)).toMatch(/SmolLM2 135M/);
    await choose('bench-other', id);
    await choose('bench-when-disturbed', 'stop');
    await userEvent.click(screen.getByTestId('bench-start'));
    expect(backend.of('bench')).toEqual([
      { call: 'bench', plan: 'ab', when_disturbed: 'stop', against: { model: id, server: 'llama-server' } },
    ]);
  });

  it('takes a rate, turns or a file, and says how much that is', async () => {
    const backend = new ScriptedBackend();
    show(BenchControl, {}, backend);
    const start = () => screen.getByTestId('bench-start');
    await choose('bench-plan', 'open');
    expect(does()).toMatch(/60 requests\. Takes about 1 min\./);
    const rate = screen.getByTestId('bench-rate');
    await userEvent.clear(rate);
    await userEvent.type(rate, '500');
    expect(start().hasAttribute('disabled')).toBe(true);
    await choose('bench-plan', 'agent');
    await userEvent.click(start());
    expect(backend.of('bench').at(-1)).toMatchObject({ plan: 'agent', turns: 6 });
    await choose('bench-plan', 'replay');
    expect(start().hasAttribute('disabled')).toBe(true);
    expect(does()).toMatch(/at most 200 prompts and 500 kB\. The prompts are not kept\.$/);
    await userEvent.upload(screen.getByTestId('bench-prompts'), new File(['Why?\nHow?\n'], 'p.txt'));
    expect(does()).toMatch(/2 prompts\. Takes/);
    await userEvent.click(start());
    expect(backend.of('bench').at(-1)).toMatchObject({ plan: 'replay', replay: 'Why?\nHow?\n' });
  });

  it('shows where the result of a comparison stands', async () => {
    const backend = new ScriptedBackend();
    const [a, b] = pair(40, 0);
    backend.answers.bench = (): Reply => ({ reply: 'comparison', comparison: comparisonOf(a, b) });
    show(BenchControl, {}, backend);
    await userEvent.click(screen.getByTestId('bench-start'));
    const ended = await screen.findByTestId('bench-ended');
    expect(ended.textContent).toMatch(/decodes 17 % faster than/);
    expect(within(ended).getByRole('link').getAttribute('href')).toBe('#/benchmarks/40-41');
  });

  it('says why a run could not be, and not when it was cancelled', async () => {
    const backend = new ScriptedBackend();
    backend.answers.bench = () => ({ code: 'not_quiet', message: 'cc1plus computes.', hint: null, retry: true });
    show(BenchControl, {}, backend);
    await userEvent.click(screen.getByTestId('bench-start'));
    expect(screen.getByRole('alert').textContent).toMatch(/The machine is not quiet\.\s+cc1plus computes\./);
    backend.answers.bench = () => ({ code: 'cancelled', message: 'Cancelled.', hint: null, retry: false });
    await userEvent.click(screen.getByTestId('bench-start'));
    expect(screen.queryByRole('alert')).toBeNull();
  });
});

describe('a run under way', () => {
  const progress: Progress = {
    run_id: 5,
    server: 'ollama',
    model: 'smollm2:135m',
    phase: 'measured',
    done: 2,
    total: 10,
    last_decode_tok_s: 58.2,
    block: null,
    concurrency: null,
    turn: null,
    waits_for: [],
    noise: false,
    left_s: 42,
  };

  it.each([
    [{}, 'Trial 3 of 10 · last 58.2 tok/s · about 42 s left'],
    [{ block: [4, 10] as [number, number], left_s: null }, 'Block 4 of 10 · last 58.2 tok/s'],
    [{ turn: [2, 6] as [number, number], left_s: null }, 'Turn 2 of 6 · Trial 3 of 10 · last 58.2 tok/s'],
    [{ concurrency: 6, left_s: null, last_decode_tok_s: null }, '6 at a time · Trial 3 of 10'],
    [{ phase: 'warmup' as const, done: 1, total: 6, left_s: null, last_decode_tok_s: null }, 'Warm-up 2 of at most 6'],
    [
      { waits_for: [compiler], left_s: null, last_decode_tok_s: null },
      'Waiting for a quiet machine: cc1plus uses 96 % of a core',
    ],
  ])('%j: %s', async (change, words) => {
    const store = show(BenchProgress, {}, new ScriptedBackend());
    store.snapshot = snapshotOf('gpu', { bench: { ...progress, ...change } });
    const shown = await screen.findByTestId('bench-progress');
    expect(plain(shown.querySelector('span')?.textContent)).toBe(words);
  });

  it('gathers a dot for each answer that came by', async () => {
    const store = show(BenchProgress, {}, new ScriptedBackend());
    for (const done of [1, 2, 3]) {
      store.snapshot = snapshotOf('gpu', { bench: { ...progress, done, last_decode_tok_s: 50 + done } });
      await screen.findByRole('img', { name: new RegExp(`^${done} answers? so far, the last at 5${done}\\.0.tok/s$`) });
    }
    expect(screen.getByRole('img', { name: /so far/ }).querySelectorAll('circle')).toHaveLength(3);
  });
});

describe('the comparison page', () => {
  it('shows the sentence, both figures, the verdict in words and what explains it', async () => {
    show(ComparisonPage, { a: 2, b: 3 }, new FakeBackend('gpu', 0));
    expect((await screen.findByRole('heading', { level: 1 })).textContent).toMatch(/decodes 17 % faster/);
    const row = (name: string) => {
      const found = screen.getAllByTestId('compared').find((one) => one.dataset.metric === name);
      return [...(found?.querySelectorAll('th, td') ?? [])].map((cell) => plain(cell.textContent));
    };
    expect(row('decode_tok_s')).toEqual(['Decode tok/s, client clock', '49.7', '58.2', '', '17 % faster 15 – 19']);
    expect(row('prefill_tok_s').at(-1)).toBe('no difference −4 – 1');
    expect(row('memory_bytes').at(-1)).toMatch(/^13 % less/);
    expect(screen.getByTestId('reasons').textContent).toMatch(/GPU while answering: Ollama 73\s%, llama-server 90\s%/);
    expect(screen.getByText(/Not the same context: 4096 against 8192/)).toBeTruthy();
    expect(screen.getAllByRole('img').map((one) => one.getAttribute('aria-label'))).toContain(
      'GPU: shaded by who was asked',
    );
  });

  it('opens what was matched', async () => {
    show(ComparisonPage, { a: 2, b: 3 }, new FakeBackend('gpu', 0));
    const button = await screen.findByRole('button', { name: 'What was matched' });
    expect(button.getAttribute('aria-expanded')).toBe('false');
    await userEvent.click(button);
    const table = screen.getByRole('region', { name: 'What was matched' });
    expect(within(table).getByRole('row', { name: /^quantization Q4_1 Q4_1 the same/ })).toBeTruthy();
  });

  it('says of runs at different times what that means, and why a figure cannot be compared', async () => {
    show(ComparisonPage, { a: 11, b: 12 }, new FakeBackend('gpu', 0));
    expect(await screen.findByText(/Measured at different times/)).toBeTruthy();
    expect(screen.getByText(/prompts of different length/)).toBeTruthy();
    expect(screen.getByTestId('bench-again').textContent).toMatch(/Measure in turns/);
  });

  it('runs again with the same call', async () => {
    const backend = new ScriptedBackend();
    const [a, b] = pair(2, 0);
    backend.answers.compare = () => ({ reply: 'comparison', comparison: comparisonOf(a, b) });
    backend.answers.run = (call) => {
      const of = call.call === 'run' && call.run_id === 2 ? a : b;
      return { reply: 'run', detail: detailOf(of, null, 'gpu') };
    };
    show(ComparisonPage, { a: 2, b: 3 }, backend);
    await userEvent.click(await screen.findByTestId('bench-again'));
    expect(backend.of('bench')[0]).toMatchObject({ plan: 'ab', trials: 10, against: { server: 'llama-server' } });
  });

  it('saves a report of both', async () => {
    const made: Blob[] = [];
    vi.spyOn(URL, 'createObjectURL').mockImplementation((blob) => {
      made.push(blob as Blob);
      return 'blob:x';
    });
    const click = vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(() => undefined);
    show(ComparisonPage, { a: 2, b: 3 }, new FakeBackend('gpu', 0));
    await userEvent.click(await screen.findByTestId('report'));
    await expect.poll(() => click.mock.contexts.length).toBe(1);
    expect((click.mock.contexts[0] as HTMLAnchorElement).download).toBe('pilothouse-report-2-3.html');
    expect(await made[0]?.text()).toMatch(/smollm2:135m on ollama, SmolLM2/);
  });

  it('says what went wrong', async () => {
    const backend = new ScriptedBackend();
    backend.answers.compare = () => ({ code: 'not_found', message: 'There is no run 99.', hint: null, retry: false });
    show(ComparisonPage, { a: 99, b: 3 }, backend);
    expect((await screen.findByRole('alert')).textContent).toMatch(/There is no run 99/);
  });
});

describe('the page of a sweep', () => {
  it('says the best, draws three plots and has their figures in a table', async () => {
    show(RunPage, { id: 1 }, new FakeBackend('gpu', 0));
    const title = await screen.findByRole('heading', { level: 1 });
    expect(title.textContent).toBe('6 at a time is the best use of SmolLM2 135M Instruct');
    const plots = screen.getAllByRole('img').map((one) => plain(one.getAttribute('aria-label')));
    expect(plots.filter((label) => /: [\d.]+ (tok\/s|ms) at 1, .* at 16$/.test(label ?? ''))).toHaveLength(3);
    const rows = screen.getAllByTestId('sweep-row');
    expect(rows.map((row) => row.dataset.level)).toEqual(['1', '2', '3', '4', '6', '8', '12', '16']);
    expect(plain(rows[4]?.querySelector('th')?.textContent)).toBe('6 best');
    expect(rows[4]?.classList.contains('marked')).toBe(true);
    expect(plain(rows[5]?.textContent)).toMatch(/later than in time:/);
    expect(screen.getByTestId('sweep-again').textContent).toMatch(/0\.5\s% less than at the start/);
    expect(screen.getByTestId('sweep-why').textContent).toMatch(/the fewest with 90 % of the most/);
    expect(screen.getByTestId('disturbed').textContent).toMatch(/cc1plus \(PID 4711\) uses 96\s% of a core, for 14/);
  });
});

describe('the page of a run', () => {
  it('calls a range a range and an interval an interval', async () => {
    show(RunPage, { id: 12 }, new FakeBackend('gpu', 0));
    const figures = await screen.findByTestId('run-figures');
    expect(plain(figures.textContent)).toMatch(/range of 5/);
    expect(plain(figures.textContent)).not.toMatch(/% interval/);
  });

  it('opens a figure to its meaning, source, spread and time', async () => {
    show(RunPage, { id: 11 }, new FakeBackend('gpu', 0));
    const button = await screen.findByRole('button', { name: 'Decode, tok/s' });
    const about = document.getElementById(button.getAttribute('aria-controls') ?? '');
    expect(about?.hidden).toBe(true);
    button.focus();
    await userEvent.keyboard('{Enter}');
    expect(about?.hidden).toBe(false);
    expect(button.getAttribute('aria-expanded')).toBe('true');
    expect(plain(about?.textContent)).toMatch(
      /^Tokens after the first.* Client clock:.* Median of 10 with its 95 % interval, by bootstrap\. Measured /,
    );
  });

  it('leads to the comparison of which it is a side, side A first, and says what does not count', async () => {
    show(RunPage, { id: 3 }, new FakeBackend('gpu', 0));
    expect((await screen.findByTestId('to-comparison')).getAttribute('href')).toBe('#/benchmarks/2-3');
    expect(plain(screen.getByTestId('flaws').textContent)).toBe(
      '1 of 10 trials do not count: another request came in between.',
    );
    expect(screen.getByRole('button', { name: 'Peak memory of GPUs' })).toBeTruthy();
    expect(screen.queryByTestId('bench-again')).toBeNull();
  });

  it('runs again as it was run', async () => {
    const backend = new ScriptedBackend();
    const one = run(7, 0, 'ollama', 'smollm2:135m', 60, 10);
    backend.answers.run = () => ({ reply: 'run', detail: { ...detailOf(one, null, 'ready'), trace: null } });
    show(RunPage, { id: 7 }, backend);
    await userEvent.click(await screen.findByRole('button', { name: /^Run again, about/ }));
    expect(backend.of('bench')).toEqual([
      {
        call: 'bench',
        model: 'ollama/smollm2:135m',
        server: 'ollama',
        plan: 'standard',
        trials: 10,
        when_disturbed: 'mark',
        quiet_wait_s: 60,
      },
    ]);
  });
});

describe('the page of a plan with a course of its own', () => {
  const target = { server: 'ollama', name: 'smollm2:135m' };

  async function shown(call: Parameters<typeof planRun>[2]) {
    const of = planRun(5, target, call)!;
    const backend = new ScriptedBackend();
    backend.answers.run = (): Reply => ({ reply: 'run', detail: detailOf(of, null, 'gpu') });
    show(RunPage, { id: 5 }, backend);
    await screen.findByTestId('run-figures');
    return plain(screen.getByTestId('run-page').textContent) ?? '';
  }
  const cells = (testid: string, row: number) =>
    [...(screen.getByTestId(testid).querySelectorAll('tbody tr')[row]?.querySelectorAll('th,td') ?? [])].map((one) =>
      plain(one.textContent),
    );

  it('shows beside an open loop what a client that waits does not see', async () => {
    expect(await shown({ plan: 'open', rate_per_s: 10, seconds: 60 })).toMatch(
      /10\.0 requests by the second for 60 s, 600 in all/,
    );
    expect(screen.getByTestId('open-loop-words').textContent).toMatch(/753 ms are hidden/);
    expect(cells('open-loop', 0).slice(0, 4)).toEqual(['from when it was due', '45.0 ms', '120 ms', '812 ms']);
    expect(cells('open-loop', 1)[3]).toBe('59.4 ms');
    expect(plain(screen.getByTestId('open-loop-notes').textContent)).toBe('600 of 600 planned requests were sent.');
  });

  it('says of few requests that their 99 % is rough', async () => {
    await shown({ plan: 'open', rate_per_s: 1, seconds: 60 });
    expect(screen.getByTestId('open-loop-notes').textContent).toMatch(/99 % of 60 requests is a rough estimate/);
  });

  it('shows a conversation turn by turn', async () => {
    expect(await shown({ plan: 'agent', turns: 6 })).toMatch(/3 conversations of 6 turns, each held twice/);
    expect(cells('conversation', 5)).toEqual([
      '6',
      '2040',
      '1700',
      '400 ms 388 ms – 416 ms',
      '2.10 s 2.04 s – 2.18 s',
      '81 %',
    ]);
  });

  it('shows how answers to own prompts are spread, and cannot ask them again', async () => {
    expect(await shown({ plan: 'replay', replay: 'a\nb\nc' })).toMatch(/3 prompts of a file, which was not kept/);
    expect(cells('replay', 0)).toEqual(['First token', '162 ms', '180 ms', '540 ms', '810 ms']);
    expect(screen.queryByTestId('bench-again')).toBeNull();
  });
});
