// Put into the page before anything else: counts what a closed panel must not leave behind.
(() => {
  const live = { listeners: new Set(), timers: new Set(), frames: new Set(), observers: new Set() };
  window.leftovers = () => Object.fromEntries(Object.entries(live).map(([name, set]) => [name, set.size]));
  // In a page with much else going on: only what our own files asked for.
  const owned = new WeakSet();
  const ids = new Set();
  window.leftovers.ours = () => ({
    listeners: [...live.listeners].filter((record) => owned.has(record)).length,
    observers: [...live.observers].filter((record) => owned.has(record)).length,
    timers: [...live.timers].filter((id) => ids.has(id)).length,
  });
  const files = /\/extensions\/copilot-pulse\//;
  const claim = (record) => {
    if (!files.test(new Error().stack ?? "")) return;
    if (typeof record === "object") owned.add(record);
    else ids.add(record);
  };

  const add = EventTarget.prototype.addEventListener;
  const remove = EventTarget.prototype.removeEventListener;
  EventTarget.prototype.addEventListener = function (type, listener, options) {
    const signal = typeof options === "object" ? options?.signal : undefined;
    if (listener && !signal?.aborted && !(this instanceof AbortSignal)) {
      const record = { target: this, type, listener };
      live.listeners.add(record);
      claim(record);
      const gone = () => live.listeners.delete(record);
      if (signal) add.call(signal, "abort", gone, { once: true });
      if (typeof options === "object" && options?.once) add.call(this, type, gone, { once: true });
    }
    return add.call(this, type, listener, options);
  };
  EventTarget.prototype.removeEventListener = function (type, listener, options) {
    for (const record of live.listeners) {
      if (record.target === this && record.type === type && record.listener === listener) live.listeners.delete(record);
    }
    return remove.call(this, type, listener, options);
  };

  for (const [set, start, stop, repeats] of [
    ["timers", "setTimeout", "clearTimeout", false],
    ["timers", "setInterval", "clearInterval", true],
    ["frames", "requestAnimationFrame", "cancelAnimationFrame", false],
  ]) {
    const begin = window[start];
    const end = window[stop];
    window[start] = (work, ...rest) => {
      const id = begin.call(window, (...given) => {
        if (!repeats) live[set].delete(id);
        return work(...given);
      }, ...rest);
      live[set].add(id);
      claim(id);
      return id;
    };
    window[stop] = (id) => {
      live[set].delete(id);
      end.call(window, id);
    };
  }

  for (const name of ["MutationObserver", "ResizeObserver", "IntersectionObserver"]) {
    const { observe, disconnect } = window[name].prototype;
    window[name].prototype.observe = function (...given) {
      live.observers.add(this);
      claim(this);
      return observe.apply(this, given);
    };
    window[name].prototype.disconnect = function () {
      live.observers.delete(this);
      return disconnect.call(this);
    };
  }
})();
