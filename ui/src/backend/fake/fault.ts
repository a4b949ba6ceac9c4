/** How the simulated engine refuses, and how it waits. */
import type { ApiError } from '../../api/ApiError';
import type { ErrorCode } from '../../api/ErrorCode';

export function fault(code: ErrorCode, message: string, hint: string | null = null): ApiError {
  return { code, message, hint, retry: false };
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
