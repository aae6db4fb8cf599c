"use strict";
// What scrolls sideways is reached by keyboard, and what does not is not stopped at.
(() => {
  const reach = () => {
    for (const one of document.querySelectorAll("article pre, article .table-wrapper, article .math")) {
      if (one.scrollWidth > one.clientWidth) one.tabIndex = 0;
      else one.removeAttribute("tabindex");
    }
  };
  addEventListener("load", reach);
  addEventListener("resize", reach);
})();
