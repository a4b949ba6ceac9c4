import { fireEvent, screen, waitFor, within } from '@testing-library/svelte';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Arranging } from '../src/api/Arranging';
import type { Reply } from '../src/api/Reply';
import type { SceneReport } from '../src/api/SceneReport';
import type { Scene } from '../src/backend/fake/scene-names';
import type { Snapshot } from '../src/api/Snapshot';
import { FakeBackend } from '../src/backend/fake/backend';
import ScenesHost from './ScenesHost.svelte';
import { renderWith, ScriptedBackend, snapshotOf, unreachable } from './support';

/** A scripted backend whose plans and settings a simulated engine answers. */
function backend(scene: Scene): ScriptedBackend {
  const scripted = new ScriptedBackend();
  const fake = new FakeBackend(scene, 0);
  for (const call of ['plan_scene', 'settings', 'set_alias'] as const)
    scripted.answers[call] = (asked) => fake.call(asked);
  return scripted;
}

async function open(route = '', scene: Scene = 'hybrid', change: Partial<Snapshot> = {}) {
  location.hash = `#/scenes${route}`;
  const shown = renderWith(ScenesHost, snapshotOf(scene, change), backend(scene));
  await screen.findByTestId('scenes-page');
  return shown;
}

const items = () => screen.getAllByTestId('scene-item').map((one) => one.textContent?.replace(/\s+/g, ' ').trim());
const rowOf = (role: string) => screen.getAllByTestId('scene-role').find((row) => row.dataset.role === role)!;
const field = (role: string, name: string) => within(rowOf(role)).getByTestId<HTMLInputElement>(`role-${name}`);
const apply = () => screen.getByTestId<HTMLButtonElement>('scene-apply');

const report: SceneReport = {
  ...{ scene: 'Coding', outcome: 'committed', dry_run: false, took_ms: 7100, steps: [], loaded: [], evicted: [] },
  ...{ answers_cut: 0, journalled: true, reason: null, error: null },
};

beforeEach(() => {
  location.hash = '#/scenes';
});

describe('the list of scenes', () => {
  it('says what each does, which is in force, and which does not fit', async () => {
    await open();
    expect(items().map((one) => one?.replaceAll('\u00a0', ' '))).toEqual([
      'Hybrid in force',
      expect.stringMatching(/^Coding 2 roles · 1\d\.\d GB · time not known yet$/),
      expect.stringMatching(/^Search night 3 roles · [\d.]+ GB · time not known yet$/),
      expect.stringMatching(/^Big and small [\d.]+ GB more than fits$/),
      expect.stringMatching(/^Free the memory unloads [\d.]+ GB$/),
    ]);
    expect(screen.getByTestId('scene-editor').dataset.id).toBe('Hybrid');
  });

  it('offers to restore once there is something to bring back', async () => {
    await open('', 'hybrid', { restore_at: new Date().toISOString() });
    expect(items().at(-1)).toMatch(/^Restore as it was at today \d\d:\d\d$/);
  });

  it('is put into another order by keyboard and by its buttons, and says so', async () => {
    const { backend: scripted } = await open();
    const item = screen.getAllByTestId('scene-item')[1]!;
    item.focus();
    await userEvent.keyboard('{Alt>}{ArrowUp}{/Alt}');
    expect(scripted.of('order_scenes')[0]?.names).toEqual(['Coding', 'Hybrid', 'Search night', 'Big and small']);
    await waitFor(() => expect(screen.getByText('Coding is 1 of 4.')).toBeTruthy());
    await userEvent.click(screen.getByRole('button', { name: 'Move Hybrid down' }));
    expect(scripted.of('order_scenes')[1]?.names).toEqual(['Coding', 'Hybrid', 'Search night', 'Big and small']);
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Move Hybrid up' }).disabled).toBe(true);
  });

  it('saves what is in memory now under a name that is checked', async () => {
    const { backend: scripted } = await open();
    await userEvent.click(screen.getByTestId('scene-save-now'));
    const name = screen.getByTestId<HTMLInputElement>('save-now-name');
    expect(name.value).toMatch(/^In memory at \d\d:\d\d$/);
    await userEvent.clear(name);
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Save' }).disabled).toBe(true);
    await userEvent.type(name, 'Evening{Enter}');
    expect(scripted.of('save_scene')).toEqual([{ call: 'save_scene', name: 'Evening' }]);
  });

  it('offers Hybrid where there is none yet, in the editor and unsaved', async () => {
    const { backend: scripted } = await open('', 'many');
    await userEvent.click(await screen.findByTestId('scene-hybrid'));
    await screen.findByTestId('scene-editor');
    expect(screen.getByTestId('scene-changes').textContent).toBe('not saved');
    expect(field('critical', 'model').value).toBe('Qwen2.5 7B Instruct');
    expect(field('background', 'server').value).toBe('ollama');
    expect(scripted.of('save_scene')).toEqual([]);
    await userEvent.click(screen.getByTestId('scene-revert'));
    await screen.findByTestId('scenes-empty');
  });
});

describe('the editor of a scene', () => {
  it('asks for the plan 300 ms after the last edit, never at a key, and shows what it says', async () => {
    const { backend: scripted } = await open('/Coding');
    await waitFor(() => expect(screen.getByTestId('scene-free').textContent).toMatch(/GB stay free/));
    const asked = scripted.of('plan_scene').length;
    // Events by themselves leave no turn to timers between them, however slow the machine is.
    for (const context of ['9', '92', '921'])
      await fireEvent.input(field('background', 'context'), { target: { value: context } });
    await fireEvent.input(field('background', 'parallel'), { target: { value: '6' } });
    expect(scripted.of('plan_scene')).toHaveLength(asked);
    expect(apply().disabled).toBe(true);
    await waitFor(() => expect(scripted.of('plan_scene')).toHaveLength(asked + 1));
    expect(scripted.of('plan_scene').at(-1)?.roles?.background).toMatchObject({ context: 921, parallel: 6 });
    await waitFor(() => expect(apply().disabled).toBe(false));
  });

  it('drops a late answer to an earlier question', async () => {
    const { backend: scripted } = await open('/Coding');
    await waitFor(() => expect(apply().disabled).toBe(false));
    const plan = (free: number): Reply => ({
      reply: 'scene_plan',
      plan: {
        ...{
          fits: true,
          refusal: null,
          shortfall_bytes: null,
          offers: [],
          steps: [],
          role_bytes: {},
          needed_bytes: 1e9,
          takes_s: 3,
        },
        ...{ free_bytes: free, evicted: [], untouched: [] },
      },
    });
    let late: (reply: Reply) => void = () => undefined;
    scripted.answers.plan_scene = () => new Promise((resolve) => (late = resolve));
    await userEvent.type(field('background', 'context'), '0');
    await waitFor(() => expect(scripted.of('plan_scene').at(-1)?.roles?.background?.context).toBe(81_920));
    scripted.answers.plan_scene = () => plan(2e9);
    await userEvent.type(field('background', 'context'), '1');
    await waitFor(() => expect(screen.getByTestId('scene-free').textContent).toMatch(/^2\.00/));
    late(plan(9e9));
    await new Promise((resolve) => setTimeout(resolve));
    expect(screen.getByTestId('scene-free').textContent).toMatch(/^2\.00/);
  });

  it('says a mistake at its field, asks nothing about it, and saves nothing with it', async () => {
    const { backend: scripted } = await open('/Coding');
    await waitFor(() => expect(apply().disabled).toBe(false));
    const asked = scripted.of('plan_scene').length;
    await userEvent.clear(field('background', 'parallel'));
    await userEvent.type(field('background', 'parallel'), '65');
    const wrong = within(rowOf('background')).getByTestId('role-wrong');
    expect(wrong.textContent).toBe('At a time: 1 to 64');
    expect(field('background', 'parallel').getAttribute('aria-describedby')).toBe(wrong.id);
    expect(field('background', 'parallel').getAttribute('aria-invalid')).toBe('true');
    expect(screen.getByText('One field has to be mended first.')).toBeTruthy();
    expect([apply().disabled, screen.getByTestId<HTMLButtonElement>('scene-save').disabled]).toEqual([true, true]);
    expect(scripted.of('plan_scene')).toHaveLength(asked);
    await userEvent.clear(field('background', 'parallel'));
    await userEvent.type(field('background', 'parallel'), '6');
    expect(within(rowOf('background')).queryByTestId('role-wrong')).toBeNull();
  });

  it('keeps what is typed while snapshots come, marks it, and takes it back', async () => {
    const { store } = await open('/Coding');
    await userEvent.clear(field('background', 'idle'));
    await userEvent.type(field('background', 'idle'), '90 min');
    store.snapshot = snapshotOf('hybrid');
    await waitFor(() =>
      expect(screen.getByTestId('scene-changes').textContent).toBe('not saved: idle limit of background'),
    );
    expect(field('background', 'idle').value).toBe('90 min');
    expect(items()[1]).toMatch(/^Coding not saved$/);
    await userEvent.click(screen.getByTestId('scene-revert'));
    expect(field('background', 'idle').value).toBe('30 min');
  });

  it('finds a model of any server by what is typed, embedding models too', async () => {
    await open('/Coding');
    const model = field('background', 'model');
    await userEvent.click(model);
    await userEvent.type(model, 'bge');
    const options = screen.getAllByTestId('picker-option');
    expect(options.map((one) => one.dataset.id)).toEqual(['lmstudio/bge-m3']);
    expect(options[0]?.textContent).toMatch(/embeds/);
    expect(model.getAttribute('aria-activedescendant')).toBe(options[0]?.id);
    await userEvent.keyboard('{Enter}');
    expect(field('background', 'model').value).toBe('BGE M3');
    expect(field('background', 'server').value).toBe('lmstudio');
    await userEvent.selectOptions(field('critical', 'server'), 'ollama');
    expect(field('critical', 'model').title).toContain('gemma3:12b');
    await userEvent.selectOptions(field('background', 'server'), 'ollama');
    expect(within(rowOf('background')).getByTestId('role-wrong').textContent).toBe('Model: choose a model');
  });

  it('adds and removes roles', async () => {
    await open('/Coding');
    await userEvent.click(screen.getByTestId('role-add'));
    expect(screen.getAllByTestId('scene-role')).toHaveLength(3);
    expect((document.activeElement as HTMLInputElement).value).toBe('small');
    await userEvent.click(screen.getByRole('button', { name: 'Remove critical' }));
    expect(screen.getByTestId('scene-changes').textContent).toBe('not saved: new role small, without critical');
    expect(document.activeElement).toBe(screen.getByTestId('role-add'));
  });

  it('saves what is not saved before it applies, and says what came of it', async () => {
    const { backend: scripted } = await open('/Coding');
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report: { ...report, answers_cut: 1 } });
    await userEvent.clear(field('background', 'idle'));
    await waitFor(() => expect(apply().disabled).toBe(false));
    await userEvent.click(apply());
    await screen.findByText('Coding is in force after 7.10 s. One answer was cut.');
    expect(scripted.calls.map((one) => one.call).filter((one) => /_scene$/.test(one) && one !== 'plan_scene')).toEqual([
      'save_scene',
      'apply_scene',
    ]);
    expect(scripted.of('save_scene')[0]?.roles?.background).not.toHaveProperty('idle_s');
    expect(scripted.of('apply_scene')).toEqual([{ call: 'apply_scene', name: 'Coding', dry_run: false, now: false }]);
  });

  it('applies nothing where it could not be saved', async () => {
    const { backend: scripted } = await open('/Coding');
    scripted.answers.save_scene = () => unreachable;
    await userEvent.clear(field('background', 'idle'));
    await waitFor(() => expect(apply().disabled).toBe(false));
    await userEvent.click(apply());
    expect((await screen.findByTestId('scene-error')).textContent).toContain(unreachable.message);
    expect(scripted.of('apply_scene')).toEqual([]);
  });

  it.each<[string, Partial<SceneReport>, string]>([
    [
      'failed',
      {
        outcome: 'rolled_back',
        reason: 'Gemma 3 12B could not be loaded.',
        error: { code: 'load_failed', message: '', hint: 'Its log says more.', retry: false },
      },
      'Put back as it was before. Gemma 3 12B could not be loaded. Its log says more.',
    ],
    ['was cancelled', { outcome: 'cancelled' }, 'Cancelled. Everything is as it was before.'],
  ])('that %s says that everything is as before', async (_, change, text) => {
    const { backend: scripted } = await open('/Coding');
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report: { ...report, ...change } });
    await waitFor(() => expect(apply().disabled).toBe(false));
    await userEvent.click(apply());
    await screen.findByText(text);
  });

  it('shows the steps while it is applied, with Cancel', async () => {
    const { store, backend: scripted } = await open('/Coding');
    const arranging: Arranging = {
      ...{ scene: 'Coding', phase: 'loading' as const, model: { server: 'lmstudio', model: 'google/gemma-3-12b' } },
      ...{ progress: 0.42, done: 1, steps: 5, eta_s: 4, started_at: '' },
    };
    store.snapshot = snapshotOf('hybrid', { arranging });
    const shown = await screen.findByTestId('scene-progress');
    expect(shown.textContent?.replace(/\s+/g, ' ')).toContain('Applying Coding. Loading: Gemma 3 12B');
    expect(shown.textContent).toMatch(/42\s%\s· 1 of 5 steps · about 4\ss left/);
    await userEvent.click(within(shown).getByRole('button', { name: 'Cancel' }));
    expect(scripted.of('cancel_switch')).toHaveLength(1);
  });

  it('shows a refusal with its arithmetic, and applies with the offer that was chosen', async () => {
    const { backend: scripted } = await open('/Big and small');
    const refusal = await screen.findByTestId('scene-refusal');
    expect(refusal.textContent).toMatch(/needs [\d.]+ GB more than fits: [\d.]+ GB to load.*Nothing was changed/s);
    const offers = screen.getAllByRole<HTMLInputElement>('radio');
    expect(offers.map((one) => [one.closest('label')?.querySelector('.what')?.textContent, one.disabled])).toEqual([
      ['critical with context 32768', false],
      ['Without background', false],
      ['Without critical', false],
      ['Without embed', true],
    ]);
    expect(offers[0]?.checked).toBe(true);
    await waitFor(() => expect(apply().disabled).toBe(false));
    expect(apply().textContent).toMatch(/^Apply critical with context 32768/);
    await userEvent.click(offers[1]!);
    await waitFor(() => expect(apply().textContent).toMatch(/^Apply without background/));
    await userEvent.click(offers[2]!);
    await waitFor(() => expect(apply().textContent).toMatch(/^Apply without critical/));
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report });
    await userEvent.click(apply());
    await waitFor(() => expect(scripted.of('apply_scene')).toHaveLength(1));
    expect(Object.keys(scripted.of('apply_scene')[0]?.roles ?? {}).sort()).toEqual(['background', 'embed']);
  });

  it('applies with a shorter context of a role, and leaves the saved scene as it is', async () => {
    const { backend: scripted } = await open('/Big and small');
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report });
    await screen.findByTestId('scene-refusal');
    await waitFor(() => expect(apply().disabled).toBe(false));
    await userEvent.click(apply());
    await waitFor(() => expect(scripted.of('apply_scene')).toHaveLength(1));
    expect(scripted.of('apply_scene')[0]?.roles?.critical).toMatchObject({ context: 32_768, pinned: true });
    expect(scripted.of('save_scene')).toEqual([]);
  });

  it('takes out first what is in the way, and lets go of it where it is pinned', async () => {
    const { backend: scripted, store } = await open('/Coding');
    const unload = { server: 'ollama', model: 'llama3.2:1b' };
    store.snapshot = snapshotOf('hybrid', { pins: [unload] });
    const offer = {
      what: 'Unload Llama 3.2 1B Instruct first',
      without_role: null,
      unload,
      smaller: null,
      frees_bytes: 1e9,
      enough: true,
    };
    const refusal = {
      code: 'does_not_fit' as const,
      message: 'It needs 1.00 GB more than fits.',
      hint: null,
      retry: false,
    };
    const none = { steps: [], role_bytes: {}, needed_bytes: null, free_bytes: null, takes_s: null };
    scripted.answers.plan_scene = (): Reply => ({
      reply: 'scene_plan',
      plan: { ...none, fits: false, refusal, shortfall_bytes: 1e9, offers: [offer], evicted: [], untouched: [] },
    });
    scripted.answers.unload = (): Reply => ({
      ...{ reply: 'unloaded', unloaded: [], answers_cut: 0, deactivated: null, took_ms: 1, dry_run: false },
    });
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report });
    await userEvent.clear(field('background', 'idle'));
    await screen.findByText('it is pinned; taking this unpins it');
    await waitFor(() => expect(apply().disabled).toBe(false));
    expect(apply().textContent).toBe('Unload Llama 3.2 1B Instruct first, then apply');
    await userEvent.click(apply());
    await waitFor(() => expect(scripted.of('apply_scene')).toHaveLength(1));
    const asked = scripted.calls.map((one) => one.call).filter((one) => ['pin', 'unload', 'apply_scene'].includes(one));
    expect(asked).toEqual(['pin', 'unload', 'apply_scene']);
    expect(scripted.of('pin')[0]).toMatchObject({ model: 'ollama/llama3.2:1b', pinned: false });
  });

  it('says when it could not be taken back', async () => {
    const until = new Date(Date.now() + 60_000).toISOString();
    const undo = { back_to: 'Hybrid', done: 'Coding is in force', until };
    const { backend: scripted } = await open('/Coding', 'hybrid', { undo });
    scripted.answers.undo = (): Reply => ({
      reply: 'scene',
      report: { ...report, outcome: 'rolled_back', reason: 'Ollama does not run.' },
    });
    await userEvent.click(screen.getByTestId('scene-undo'));
    await screen.findByText('Not taken back; everything is as it was. Ollama does not run.');
  });

  it('asks in place before it deletes, and keeps by default', async () => {
    const { backend: scripted } = await open('/Coding');
    await userEvent.click(screen.getByTestId('scene-delete'));
    expect(screen.getByTestId('scene-delete-ask').textContent).toContain('Its roles are lost; memory stays as it is.');
    expect((document.activeElement as HTMLElement).textContent).toBe('Keep it');
    await userEvent.click(document.activeElement as HTMLElement);
    expect(scripted.of('delete_scene')).toEqual([]);
    await userEvent.click(screen.getByTestId('scene-delete'));
    await userEvent.click(screen.getByTestId('scene-delete-it'));
    expect(scripted.of('delete_scene')).toEqual([{ call: 'delete_scene', name: 'Coding' }]);
  });

  it('renames, but not to a name that exists', async () => {
    const { backend: scripted } = await open('/Coding');
    const name = screen.getByTestId<HTMLInputElement>('scene-name');
    await userEvent.clear(name);
    await userEvent.type(name, 'Hybrid');
    expect(screen.getByText(/another scene is called so/)).toBeTruthy();
    await userEvent.type(name, ' night');
    await userEvent.click(screen.getByTestId('scene-save'));
    expect(scripted.of('save_scene')).toMatchObject([{ name: 'Hybrid night', renames: 'Coding' }]);
  });

  it('copies under a free name', async () => {
    await open('/Coding');
    await userEvent.click(screen.getByTestId('scene-copy'));
    await waitFor(() => expect(screen.getByTestId<HTMLInputElement>('scene-name').value).toBe('Coding 2'));
    expect(location.hash).toBe('#/scenes?draft=1');
    expect(items()).toContain('Coding 2 not saved');
  });
});

describe('scenes as files', () => {
  const file = (text: string) => new File([text], 'scene.json', { type: 'application/json' });
  const choose = (chosen: File) => fireEvent.change(screen.getByTestId('import-file'), { target: { files: [chosen] } });

  it('goes out as it is, and comes in unsaved under a free name', async () => {
    const texts: Blob[] = [];
    vi.spyOn(URL, 'createObjectURL').mockImplementation((blob) => {
      texts.push(blob as Blob);
      return 'blob:x';
    });
    vi.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(() => undefined);
    await open('/Coding');
    await userEvent.click(screen.getByTestId('scene-export'));
    const text = await texts[0]!.text();
    expect(JSON.parse(text)).toEqual({ name: 'Coding', roles: snapshotOf('hybrid').scenes[1]?.roles });
    await choose(file(text));
    await screen.findByText('Coding 2 was read from the file. It is not saved yet.');
    await waitFor(() => expect(screen.getByTestId<HTMLInputElement>('scene-name').value).toBe('Coding 2'));
    expect(field('background', 'idle').value).toBe('30 min');
  });

  it('says what is wrong with a file', async () => {
    await open();
    await choose(file('{"name":"S","roles":{"a":{"server":"o","model":"m","ctx":1}}}'));
    expect((await screen.findByTestId('scene-error')).textContent).toContain('“roles.a.ctx”');
    await choose(file(' '.repeat(300_000)));
    expect((await screen.findByTestId('scene-error')).textContent).toContain('too large');
  });
});

describe('other names', () => {
  it('are shown, checked, added and removed', async () => {
    const { backend: scripted } = await open();
    const shown = await screen.findByTestId('aliases');
    await within(shown).findByText('gpt-4o-mini');
    expect(shown.textContent?.replace(/\s+/g, ' ')).toContain('active → critical');
    await userEvent.click(screen.getByTestId('alias-add'));
    expect(document.activeElement).toBe(screen.getByTestId('alias-name'));
    await userEvent.keyboard('active{Enter}');
    expect(within(shown).getByRole('alert').textContent).toMatch(/not “active”/);
    await userEvent.type(screen.getByTestId('alias-name'), '-model');
    await userEvent.type(screen.getByTestId('alias-to'), 'background{Enter}');
    await within(shown).findByText('active-model');
    expect(scripted.of('set_alias').at(-1)).toEqual({ call: 'set_alias', alias: 'active-model', to: 'background' });
    await userEvent.click(within(shown).getByRole('button', { name: 'Remove gpt-4o-mini' }));
    await waitFor(() => expect(within(shown).queryByText('gpt-4o-mini')).toBeNull());
  });
});

describe('a built-in scene', () => {
  it('shows what leaves, and is applied by its name', async () => {
    const { backend: scripted } = await open('/Free the memory');
    await screen.findByText(/^leaves: Qwen2.5 7B Instruct/);
    scripted.answers.apply_scene = (): Reply => ({ reply: 'scene', report: { ...report, scene: 'Free the memory' } });
    await userEvent.click(apply());
    expect(scripted.of('apply_scene')).toMatchObject([{ name: 'Free the memory' }]);
    await screen.findByText('The memory is free after 7.10 s.');
  });
});
