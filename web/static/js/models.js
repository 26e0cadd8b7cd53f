// An address such as #products/2 names a version that may be on an older page of this list: go there.
const list = document.querySelector("ol.releases");

function seek() {
  const wanted = decodeURIComponent(location.hash.slice(1));
  const number = wanted.match(/\/([1-9][0-9]{0,8})$/)?.[1];
  if (!number || document.getElementById(wanted) || wanted !== `${list.dataset.model}/${number}`) return;
  const address = new URL(location.href);
  const asked = String(Number(number) + 1);
  if (address.searchParams.get("after") === asked) return;
  address.searchParams.set("after", asked);
  location.replace(address);
}

if (list) {
  seek();
  addEventListener("hashchange", seek);
}
