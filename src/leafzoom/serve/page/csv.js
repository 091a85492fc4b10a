// All results as a CSV for spreadsheets.

// results: the objects of the API, predictions and photos that could not be read.
export function resultsCsv(results) {
  const predicted = results.find((result) => result.probabilities);
  const labels = Object.keys(predicted?.probabilities ?? {});

  // Possible answers, where the service names them: labels with spaces, a bar between answers.
  const possibleColumn = results.some((result) => result.possible) ? ["possible"] : [];
  const header = [
    "photo", "verdict", "labels", "confidence", ...labels, ...possibleColumn, "error",
  ];

  const rows = results.map((result) => [
    result.photo,
    result.verdict,
    result.labels?.join(" "),
    result.confidence,
    ...labels.map((label) => result.probabilities?.[label]),
    ...possibleColumn.map(() => possibleCell(result.possible ?? [])),
    result.error,
  ]);

  return csvText([header, ...rows]);
}

// Rows of values as the text of a CSV.
export const csvText = (rows) =>
  [...rows.map((row) => row.map(cell).join(",")), ""].join("\n");

const possibleCell = (answers) =>
  answers.map((labels) => labels.join(" ") || "no label").join(" | ");

function cell(value) {
  // No spreadsheet takes a text for a formula. A number may be negative.
  const plain = String(value ?? "");
  const text = typeof value === "number" ? plain : plain.replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
