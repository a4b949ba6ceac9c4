// What a screen reader gets to hear: the accessibility tree of Chromium for what has the focus, and a record of what changes in
// live regions. No screen reader runs here; name, role and state are what one would speak.
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';

/** Longest wait for what the page is to say: a busy machine is slow. */
const PATIENCE_MS = 30_000;

/** States that are spoken, each in a word. */
const STATES = {
  checked: (value) => (String(value) === 'true' ? 'on' : 'off'),
  pressed: (value) => (String(value) === 'true' ? 'pressed' : 'not pressed'),
  expanded: (value) => (value ? 'expanded' : 'collapsed'),
  invalid: (value) => (String(value) === 'true' ? 'invalid' : null),
  disabled: (value) => (value ? 'disabled' : null),
  level: (value) => `level ${value}`,
};

/** Notes each change in a live region that was there before it. An alert is heard when it comes, too. */
function record() {
  globalThis.heard = [];
  const LIVE = '[aria-live="polite"], [aria-live="assertive"], [role="status"], [role="alert"]';
  const regionOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement)?.closest(LIVE) ?? null;
  new MutationObserver((changes) => {
    const added = new Set(changes.flatMap((change) => [...change.addedNodes]));
    const isNew = (region) => [...added].some((node) => node === region || node.contains(region));
    const regions = new Set(changes.map((change) => regionOf(change.target)));
    for (const node of added) {
      if (node.nodeType !== Node.ELEMENT_NODE) continue;
      for (const alert of node.querySelectorAll('[role="alert"]')) regions.add(alert);
      if (node.matches('[role="alert"]')) regions.add(node);
    }
    for (const region of regions) {
      if (region === null || !region.isConnected || (isNew(region) && region.getAttribute('role') !== 'alert'))
        continue;
      const text = region.textContent.replace(/\s+/g, ' ').trim();
      if (text !== '') globalThis.heard.push(text);
    }
  }).observe(document, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
    attributeFilter: ['role', 'aria-live'],
  });
}

export async function listen(page) {
  await page.evaluate(record);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Accessibility.enable');

  async function tree() {
    return (await devtools.send('Accessibility.getFullAXTree')).nodes.filter((node) => !node.ignored);
  }

  function words(node) {
    const property = (name) => node.properties?.find((one) => one.name === name)?.value.value;
    const states = Object.entries(STATES).map(([name, word]) => {
      const value = property(name);
      return value === undefined ? null : word(value);
    });
    const value = ['searchbox', 'textbox', 'combobox', 'spinbutton', 'slider'].includes(node.role.value)
      ? node.value?.value
      : undefined;
    const spoken = [node.name?.value, node.role.value, ...states, value === undefined ? null : `“${value}”`];
    return spoken
      .filter((part) => part !== null && part !== undefined && part !== '')
      .join(', ')
      .replace(/\s+/g, ' ');
  }

  const focused = (nodes) =>
    nodes.find(
      (node) =>
        node.role.value !== 'RootWebArea' &&
        node.properties?.some(({ name, value }) => name === 'focused' && value.value),
    );

  /** Names of these are made of what is inside: that is not spoken a second time. */
  const WHOLE = [
    'button',
    'link',
    'heading',
    'option',
    'MenuListOption',
    'switch',
    'checkbox',
    'radio',
    'progressbar',
    'img',
  ];
  const SPOKEN = [
    ...WHOLE,
    'searchbox',
    'textbox',
    'combobox',
    'spinbutton',
    'slider',
    'status',
    'alert',
    'table',
    'region',
  ];

  /** What one hears who reads on through a part of the page, in its order: looked at until the check of it passes. */
  async function reads(selector, check) {
    const end = Date.now() + PATIENCE_MS;
    for (;;) {
      try {
        check(await readsNow(selector));
        return;
      } catch (error) {
        if (Date.now() > end) throw error;
      }
      await setTimeout(50);
    }
  }

  async function readsNow(selector) {
    const { root } = await devtools.send('DOM.getDocument', { depth: 0 });
    const { nodeId } = await devtools.send('DOM.querySelector', { nodeId: root.nodeId, selector });
    assert.notEqual(nodeId, 0, `the page has no ${selector}`);
    const { node: of } = await devtools.send('DOM.describeNode', { nodeId });
    const { nodes } = await devtools.send('Accessibility.getFullAXTree');
    const known = new Map(nodes.map((node) => [node.nodeId, node]));
    const lines = [];
    const walk = (node) => {
      const role = node.role?.value;
      if (!node.ignored && role === 'StaticText') lines.push(node.name.value.replace(/\s+/g, ' ').trim());
      if (!node.ignored && SPOKEN.includes(role)) lines.push(words(node));
      if (!node.ignored && (WHOLE.includes(role) || ['combobox', 'textbox', 'searchbox', 'spinbutton'].includes(role)))
        return;
      for (const child of node.childIds ?? []) if (known.has(child)) walk(known.get(child));
    };
    const top = nodes.find((node) => node.backendDOMNodeId === of.backendNodeId);
    assert.ok(top, `${selector} is not in the accessibility tree`);
    walk(top);
    return lines.filter((line) => line !== '');
  }

  /** What has the focus: name, role, states. */
  async function here() {
    const node = focused(await tree());
    return node === undefined ? 'nothing' : words(node);
  }

  async function explanation() {
    return focused(await tree())?.description?.value ?? '';
  }

  return {
    here,
    reads,

    /** Waits until this is announced as the last thing, and gives back all that was since the last question. */
    async hearsUntil(wanted) {
      try {
        await page.waitForFunction(
          ([source, flags]) => new RegExp(source, flags).test(globalThis.heard.at(-1) ?? ''),
          [wanted.source, wanted.flags],
          { timeout: PATIENCE_MS },
        );
      } catch {
        // What came instead is said below.
      }
      const heard = await page.evaluate(() => globalThis.heard.splice(0));
      assert.match(heard.at(-1) ?? 'nothing', wanted, `was announced at last, after:\n${heard.join('\n')}`);
      return heard;
    },

    /** Waits until what has the focus is spoken like this. */
    async isHere(wanted) {
      const until = Date.now() + PATIENCE_MS;
      let last = '';
      while (Date.now() < until) {
        last = await here();
        if (wanted.test(last)) return;
        await page.evaluate(() => new Promise(requestAnimationFrame));
      }
      assert.match(last, wanted, 'what has the focus');
    },

    /** Waits until it is explained like this: by a pattern, or in exactly these words. */
    async isDescribed(wanted) {
      const until = Date.now() + PATIENCE_MS;
      let last = '';
      while (Date.now() < until) {
        last = await explanation();
        if (typeof wanted === 'string' ? last === wanted : wanted.test(last)) return;
        await setTimeout(50);
      }
      if (typeof wanted === 'string') assert.equal(last, wanted, 'what explains it');
      else assert.match(last, wanted, 'what explains it');
    },

    /** What is said to explain it, once there is something. */
    async described() {
      await this.isDescribed(/./);
      return explanation();
    },

    /** Goes on with Tab until this has the focus. */
    async tabTo(wanted, { back = false, most = 40 } = {}) {
      const passed = [];
      for (let stop = 0; stop < most; stop += 1) {
        await page.keyboard.press(back ? 'Shift+Tab' : 'Tab');
        passed.push(await here());
        if (wanted.test(passed.at(-1))) return;
      }
      assert.fail(`Tab never came to ${wanted}; it passed:\n${passed.join('\n')}`);
    },

    /** Waits until this was announced since the last question, and forgets what came before it. */
    async hears(wanted) {
      try {
        await page.waitForFunction(
          ([source, flags]) => {
            const at = globalThis.heard.findIndex((text) => new RegExp(source, flags).test(text));
            if (at === -1) return false;
            globalThis.heard.splice(0, at + 1);
            return true;
          },
          [wanted.source, wanted.flags],
          { timeout: PATIENCE_MS },
        );
      } catch {
        const heard = await page.evaluate(() => globalThis.heard);
        assert.fail(`${wanted} was not announced; heard:\n${heard.join('\n') || 'nothing'}`);
      }
    },

    /** All that was announced since the last question. */
    heard: () => page.evaluate(() => globalThis.heard.splice(0)),

    /** Waits until the tree has such a thing anywhere. */
    async finds(wanted) {
      const until = Date.now() + PATIENCE_MS;
      let all = [];
      do {
        all = (await tree()).map(words);
        if (all.some((one) => wanted.test(one))) return;
        await setTimeout(50);
      } while (Date.now() < until);
      assert.fail(`the page has no ${wanted}:\n${all.filter((one) => /heading|button|status/.test(one)).join('\n')}`);
    },
  };
}
