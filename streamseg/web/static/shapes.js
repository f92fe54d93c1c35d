// Where a mask is: its centroid, and its largest piece, on which the label sits.

/** Cells along the longer side: enough for pieces and centroids of millions of pixels. */
const CELLS = 40;

/**
 * Measure a mask of { roi, mask }. Returns null without a pixel, else in pixels of the picture:
 * { centroid: [x, y], piece: { left, top, right, bottom, middle: [x, y] } }.
 */
export function measureShape({ roi: [left, top, width, height], mask }) {
	const step = Math.max(1, Math.max(width, height) / CELLS);
	const columns = Math.max(1, Math.floor(width / step)), rows = Math.max(1, Math.floor(height / step));
	const cells = new Uint8Array(columns * rows);
	let count = 0, sumX = 0, sumY = 0;
	for (let row = 0; row < rows; row++) {
		const y = Math.min(height - 1, Math.floor((row + 0.5) * step));
		for (let column = 0; column < columns; column++) {
			const x = Math.min(width - 1, Math.floor((column + 0.5) * step));
			if (!mask[y * width + x]) continue;
			cells[row * columns + column] = 1;
			count++; sumX += x; sumY += y;
		}
	}
	if (!count) { // thinner than a cell
		const middle = [left + width / 2, top + height / 2];
		return width && height ? { centroid: middle, piece: { left, top, right: left + width, bottom: top + height, middle } } : null;
	}
	const piece = largestPiece(cells, columns, rows);
	const x = (column) => left + column * step, y = (row) => top + row * step;
	return {
		centroid: [left + sumX / count, top + sumY / count],
		piece: {
			left: x(piece.left), top: y(piece.top), right: x(piece.right + 1), bottom: y(piece.bottom + 1),
			middle: [x(piece.sumX / piece.size + 0.5), y(piece.sumY / piece.size + 0.5)],
		},
	};
}

/** Largest connected piece of the cells, which are cleared on the way. */
function largestPiece(cells, columns, rows) {
	let largest = { size: 0 };
	const pending = [];
	for (let start = 0; start < cells.length; start++) {
		if (!cells[start]) continue;
		const piece = { size: 0, sumX: 0, sumY: 0, left: columns, top: rows, right: 0, bottom: 0 };
		cells[start] = 0;
		pending.push(start);
		while (pending.length) {
			const at = pending.pop();
			const column = at % columns, row = (at - column) / columns;
			piece.size++; piece.sumX += column; piece.sumY += row;
			piece.left = Math.min(piece.left, column); piece.right = Math.max(piece.right, column);
			piece.top = Math.min(piece.top, row); piece.bottom = Math.max(piece.bottom, row);
			for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++) {
				for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) {
					const next = y * columns + x;
					if (cells[next]) { cells[next] = 0; pending.push(next); }
				}
			}
		}
		if (piece.size > largest.size) largest = piece;
	}
	return largest;
}
