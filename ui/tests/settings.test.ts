import { render, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ApiError } from '../src/api/ApiError';
import type { Call } from '../src/api/Call';
import { FakeBackend } from '../src/backend/fake/backend';
import { entriesOf } from '../src/settings.svelte';
import { Store } from '../src/store.svelte';
import { settings as words } from '../src/text';
import Settings from '../src/views/Settings.svelte';
import { snapshotOf, TestVisibility } from './support';

/** The page on the simulated engine, read for the first time. */
async function open(
  props: { group?: string | null; query?: Record<string, string> } = {},
  fake = new FakeBackend('ready', 0),
) {
  const store = new Store(fake, new TestVisibility());
  store.snapshot = snapshotOf();
  render(Settings, { props: { group: null, query: {}, ...props }, context: new Map([['store', store]]) });
  await screen.findByText(/Saved as you change them/);
  return { fake, store, user: userEvent.setup() };
}

const row = (key: string) => within(document.querySelector<HTMLElement>(`[data-key="${key}"]`)!);
const valueOf = (fake: FakeBackend, key: string) =>
  fake.settings.view().settings.find((setting) => setting.about.key === key)?.value;

beforeEach(() => history.replaceState(null, '', '/'));

describe('the simulated engine refuses as the real one', () => {
  const set = (fake: FakeBackend, call: Omit<Extract<Call, { call: 'set_setting' }>, 'call'>) => {
    try {
      fake.settings.set({ call: 'set_setting', ...call });
      return null;
    } catch (error) {
      return (error as ApiError).code;
    }
  };

  it.each([
    ['gauges.interval_ms', 200, null],
    ['gauges.interval_ms', 199, 'invalid_call'],
    ['gauges.interval_ms', 60_000, null],
    ['gauges.interval_ms', 60_001, 'invalid_call'],
    ['gauges.interval_ms', 'soon', 'invalid_call'],
    ['gateway.enabled', 1, 'invalid_call'],
    ['tray.gauge', 'all', 'invalid_call'],
    ['tray.gauge', 'both', null],
    ['switching.load_ceiling_s', 59, 'invalid_call'],
    ['history.trace_minutes_days', 0, null],
    ['history.trace_minutes_days', 29, 'invalid_call'],
    ['gateway.hosts', ['http://a'], 'invalid_call'],
    ['gateway.hosts', ['a', 'b'], null],
    ['nonsense', 1, 'not_found'],
  ])('%s = %j', (key, value, code) => {
    expect(set(new FakeBackend('ready', 0), { key, value })).toBe(code);
  });

  it('knows a change by somebody else from its own', () => {
    const fake = new FakeBackend('ready', 0);
    const digest = fake.settings.view().digest ?? '';
    expect(set(fake, { key: 'gateway.wait_s', value: 20, digest })).toBeNull();
    expect(set(fake, { key: 'gateway.wait_s', value: 21, digest })).toBeNull();
    fake.settings.edit('gateway.queue', 5);
    expect(set(fake, { key: 'gateway.wait_s', value: 22, digest })).toBe('busy');
    expect(set(fake, { key: 'gateway.wait_s', value: 22, digest: fake.settings.view().digest ?? '' })).toBeNull();
  });
});

describe('the page Settings', () => {
  it('shows every key once, by group, with its default or the way back to it', async () => {
    const { fake } = await open();
    const keys = fake.settings.view().settings.map((setting) => setting.about.key);
    expect([...document.querySelectorAll('[data-key]')].map((one) => one.getAttribute('data-key')).sort()).toEqual(
      [...keys].sort(),
    );
    expect(row('gateway.wait_s').getByText('default')).toBeTruthy();
    expect(row('gateway.queue').getByText('default 1024')).toBeTruthy();
    expect(row('gateway.queue').getByRole('button', { name: 'Reset Requests that may wait' })).toBeTruthy();
    expect(screen.getByText(/2 differ from the defaults/)).toBeTruthy();
    expect(screen.getByTitle('/home/you/.config/pilothouse/settings.toml').textContent).toBe('settings.toml');
  });

  it('saves a number, a switch, a choice and a list as they are changed, and puts back', async () => {
    const { fake, user } = await open();
    const wait = screen.getByLabelText<HTMLInputElement>('Longest wait during a switch');
    await user.clear(wait);
    await user.type(wait, '20');
    await user.tab();
    await waitFor(() => expect(valueOf(fake, 'gateway.wait_s')).toBe(20));
    await user.click(screen.getByRole('switch', { name: 'Answer programs' }));
    await waitFor(() => expect(valueOf(fake, 'gateway.enabled')).toBe(false));
    await user.selectOptions(screen.getByLabelText('Bars in the icon'), 'gpu');
    await waitFor(() => expect(valueOf(fake, 'tray.gauge')).toBe('gpu'));
    await user.type(screen.getByLabelText('Further names of this machine'), 'a, b.example{Tab}');
    await waitFor(() => expect(valueOf(fake, 'gateway.hosts')).toEqual(['a', 'b.example']));
    expect(await screen.findByText(/6 differ from the defaults/)).toBeTruthy();
    await user.click(await row('gateway.wait_s').findByRole('button', { name: /^Reset/ }));
    await waitFor(() => expect(valueOf(fake, 'gateway.wait_s')).toBe(30));
    expect(await row('gateway.wait_s').findByText('default')).toBeTruthy();
  });

  it('says a mistake at the field, with what is allowed and two ways out', async () => {
    const { fake, user } = await open();
    const wait = screen.getByLabelText<HTMLInputElement>('Longest wait during a switch');
    await user.clear(wait);
    await user.type(wait, '9000{Tab}');
    const said = await row('gateway.wait_s').findByRole('alert');
    expect(said.textContent).toContain('Cannot be 9000. Allowed: 1 to 600 s.');
    expect(wait.getAttribute('aria-invalid')).toBe('true');
    expect(wait.value).toBe('9000');
    expect(valueOf(fake, 'gateway.wait_s')).toBe(30);
    await user.click(row('gateway.wait_s').getByRole('button', { name: /^Back to 30\ss$/ }));
    expect(wait.value).toBe('30');
    await user.clear(wait);
    await user.type(wait, '9000{Tab}');
    await user.click(await row('gateway.wait_s').findByRole('button', { name: /^Use 600\ss$/ }));
    await waitFor(() => expect(valueOf(fake, 'gateway.wait_s')).toBe(600));
    expect(row('gateway.wait_s').queryByRole('alert')).toBeNull();
  });

  it('never writes over what somebody else has changed: it says so and shows it', async () => {
    const { fake, user } = await open();
    fake.settings.edit('gateway.wait_s', 45);
    await user.click(screen.getByRole('switch', { name: 'Answer programs' }));
    expect((await screen.findByTestId('settings-outside')).textContent).toContain('gateway.wait_s is 45 now');
    expect(valueOf(fake, 'gateway.enabled')).toBe(true);
    const answers = screen.getByRole<HTMLInputElement>('switch', { name: 'Answer programs' });
    await waitFor(() => expect(answers.checked).toBe(true));
    expect(screen.getByLabelText<HTMLInputElement>('Longest wait during a switch').value).toBe('45');
    await user.click(screen.getByRole('switch', { name: 'Answer programs' }));
    await waitFor(() => expect(valueOf(fake, 'gateway.enabled')).toBe(false));
  });

  it('reads the file again when somebody comes back to the page', async () => {
    const { fake } = await open();
    fake.settings.edit('gateway.wait_s', 45);
    dispatchEvent(new Event('focus'));
    await screen.findByTestId('settings-outside');
    expect(screen.getByLabelText<HTMLInputElement>('Longest wait during a switch').value).toBe('45');
  });

  it('changes nothing while the file has a mistake', async () => {
    const fake = new FakeBackend('ready', 0);
    fake.settings.mistake = 'settings.toml line 3: gateway.prot: unknown key, did you mean port?';
    await open({}, fake);
    expect((await screen.findByTestId('settings-mistake')).textContent).toContain('line 3');
    for (const field of document.querySelectorAll<HTMLInputElement>('[data-key] input, [data-key] select')) {
      expect(field.disabled).toBe(true);
    }
  });

  it('says what waits for a restart, and restarts that server', async () => {
    const { fake, store, user } = await open();
    store.snapshot = {
      ...snapshotOf(),
      active: null,
      servers: snapshotOf().servers.map((one) => ({ ...one, state: 'ready', ownership: 'ours' })),
    };
    const context = row('servers.ollama.context').getByRole<HTMLInputElement>('textbox');
    await user.clear(context);
    await user.type(context, '8192{Tab}');
    const band = await screen.findByTestId('setting-waits');
    expect(band.textContent).toContain('One change waits for a restart of Ollama.');
    expect(row('servers.ollama.context').getByText('after a restart')).toBeTruthy();
    await user.click(within(band).getByRole('button', { name: 'Restart Ollama' }));
    await waitFor(() => expect(screen.queryByTestId('setting-waits')).toBeNull());
    expect(valueOf(fake, 'servers.ollama.context')).toBe(8192);
    await user.click(screen.getByRole('switch', { name: 'Answer programs' }));
    expect((await screen.findByTestId('setting-waits')).textContent).toContain('Quit Pilothouse and start it again.');
  });

  it('finds by words of title, meaning, key and group', async () => {
    const { user } = await open();
    const search = screen.getByRole('searchbox');
    for (const [words, keys] of [
      ['gateway.queue_wait_s', ['gateway.queue_wait_s']],
      ['flash attention', ['servers.ollama.flash_attention', 'servers.ollama.kv_type']],
      ['data kept warm', ['history.warmups_days']],
      ['no such thing', []],
    ] as const) {
      await user.clear(search);
      await user.type(search, words);
      const found = [...document.querySelectorAll('[data-key]')].map((one) => one.getAttribute('data-key'));
      expect(found).toEqual([...keys]);
      expect(decodeURIComponent(location.hash)).toContain('find=');
    }
    await user.keyboard('{Escape}');
    expect(document.querySelectorAll('[data-key]').length).toBeGreaterThan(40);
  });

  it('says where a port is held by somebody else', async () => {
    const { store } = await open();
    const message = 'Port 11480 is held by another program.';
    store.snapshot = snapshotOf('ready', { troubles: [{ code: 'port_taken', message, hint: null, retry: true }] });
    expect(await row('gateway.port').findByText(message)).toBeTruthy();
    expect(row('web.port').queryByText(message)).toBeNull();
  });

  it('says at their field that keys are not heard', async () => {
    const { store } = await open();
    const message = 'Another program has Ctrl+Alt+P.';
    store.snapshot = snapshotOf('ready', {
      troubles: [{ code: 'shortcut_not_heard', message, hint: null, retry: false }],
    });
    expect(await row('tray.previous_model_shortcut').findByText(message)).toBeTruthy();
    expect(row('notifications.quiet').queryByText(message)).toBeNull();
  });
});

describe('a table of the file', () => {
  it.each([
    [{}, []],
    [{ OLLAMA_NUM_GPU: '1' }, [['OLLAMA_NUM_GPU', '1']]],
    [
      { HF_TOKEN: 'hf_x', api_key: 'k' },
      [
        ['HF_TOKEN', 'kept back'],
        ['api_key', 'kept back'],
      ],
    ],
    [
      { gemma: { context: 8192, gpu_layers: null, options: {}, flash_attention: false } },
      [['gemma', 'context 8192, flash attention false']],
    ],
    [{ gemma: { options: { temp: '0.2', 'api-key': 'k' } } }, [['gemma', 'options temp 0.2, api-key kept back']]],
    ['no table', []],
  ] as [unknown, [string, string][]][])('%j is read as lines', (table, lines) => {
    expect(entriesOf(table)).toEqual(lines);
  });

  it('is shown with what stands in it', async () => {
    await open({}, new FakeBackend('many', 0));
    const entries = row('servers.ollama.environment').getByTestId('setting-entries');
    expect(entries.textContent).toMatch(/OLLAMA_NUM_GPU.*1.*HF_TOKEN.*kept back/s);
    expect(document.body.textContent).not.toContain('hf_invented');
  });
});

describe('a restart says what it costs', () => {
  it.each([
    [['Gemma 3'], '3.00 s', 'Gemma 3 leaves memory, 3.00 s to load it again.'],
    [['Gemma 3'], null, 'Gemma 3 leaves memory.'],
    [['Gemma 3', 'Qwen'], 'about 7 s', 'Gemma 3 and Qwen leave memory, about 7 s to load them again.'],
    [['A', 'B', 'C'], null, 'A, B and C leave memory.'],
  ])('%j, %s', (models, time, said) => expect(words.restartCosts(models, time)).toBe(said));

  it('with the load times that were learned, before it is done', async () => {
    const { fake, user } = await open();
    const field = row('servers.llama-server.parallel').getByRole('textbox');
    await user.clear(field);
    await user.type(field, '2');
    await user.tab();
    const note = await screen.findByTestId('setting-waits');
    expect(valueOf(fake, 'servers.llama-server.parallel')).toBe(2);
    await waitFor(() =>
      expect(note.textContent).toMatch(/SmolLM2 135M Instruct leaves memory, (about )?[\d.]+\sm?s to load it again\./),
    );
    expect(note.textContent).toMatch(/Running since/);
  });
});
