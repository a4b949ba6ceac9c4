/** What the test DOM lacks. */
import { cleanup, configure } from '@testing-library/svelte';
import { afterEach, vi } from 'vitest';

// By default a second, which a page of sixty models takes beside busy neighbours. What never comes fails all the same.
configure({ asyncUtilTimeout: 20_000 });

// Charts draw on a canvas, which the test DOM does not have; Chromium tests look at them.
vi.mock('uplot', () => ({
  default: class {
    setData() {}
    setSize() {}
    redraw() {}
    destroy() {}
  },
}));

// Svelte asks a select for its `:checked` option, which the test DOM knows of check boxes only.
const ask = HTMLSelectElement.prototype.querySelector;
HTMLSelectElement.prototype.querySelector = function (this: HTMLSelectElement, selector: string) {
  return selector === ':checked' ? (this.options[this.selectedIndex] ?? null) : ask.call(this, selector);
} as typeof ask;

afterEach(() => cleanup());
