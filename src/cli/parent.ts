/**
 * The process that started this one, noted before anything else is loaded: later it may have ended
 * already, and whoever inherits a process (on Linux, process 1 or the next reaper) would pass for its parent.
 */
export const parentAtStart: number = process.ppid;
