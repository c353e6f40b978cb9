// Ballots with their pictures.

// A ballot with its pictures on their way: `soon` is [images, whether they are whole].
function held(ballot) {
  const { left, right } = ballot.links;
  const whole = Promise.all([load(left), load(right)]);
  const small = Promise.all([load(`${left}&size=small`), load(`${right}&size=small`)]);
  const soon = Promise.any([whole.then((images) => [images, true]), small.then((images) => [images, false])]);
  soon.catch(() => {});
  whole.catch(() => {});
  return { ...ballot, whole, soon };
}

function load(address) {
  const image = new Image();
  image.src = address;
  return image.decode().then(() => image);
}

function pause(tries) { return new Promise((resume) => setTimeout(resume, 1000 * Math.min(5, tries))); }

function plural(count, one) { return `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`; }
