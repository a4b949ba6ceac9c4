/** What the test DOM lacks. */
import { cleanup } from '@testing-library/svelte';
import { afterEach, vi } from 'vitest';

// Charts draw on a canvas, which the test DOM does not have; Chromium tests look at them.
vi.mock('uplot', () => ({
  default: class {
    setData() {}
    setSize() {}
    redraw() {}
    destroy() {}
  },
}));

afterEach(() => cleanup());
