// All results as a CSV for spreadsheets.

// results: the objects of the API, predictions and photos that could not be read.
export function resultsCsv(results) {
  const predicted = results.find((result) => result.probabilities);
  const labels = Object.keys(predicted?.probabilities ?? {});
  const header = ["photo", "verdict", "labels", "confidence", ...labels, "error"];

  const rows = results.map((result) => [
    result.photo,
    result.verdict,
    result.labels?.join(" "),
    result.confidence,
    ...labels.map((label) => result.probabilities?.[label]),
    result.error,
  ]);

  const lines = rows.map((row) => row.map(cell).join(","));
  return [header.join(","), ...lines, ""].join("\n");
}

function cell(value) {
  // No spreadsheet takes the text for a formula.
  const text = String(value ?? "").replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
