// Runs before anything is drawn, so that nobody who chose a dark page sees a white flash first.
// A classic script for that reason: modules wait until the document has been read.
try {
  const theme = localStorage.getItem("lagotto-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is switched off in this browser; the page then follows the system.
}
