from serving import search


def test_metrics(client, picture):
    search(client, picture(), k=1)
    search(client, b"", status=415)
    for number in range(3):
        client.get(f"/images/{number}")
        client.get(f"/no/such/page{number}")
    text = client.get("/metrics").text
    for line in (
        'dcal_reid_requests_total{method="POST",route="/search",status="200"} 1',
        'dcal_reid_requests_total{method="POST",route="/search",status="415"} 1',
        'dcal_reid_requests_total{method="GET",route="/images/{item_id}",status="200"} 3',
        'dcal_reid_requests_total{method="GET",route="other",status="404"} 3',
        'dcal_reid_request_seconds_bucket{route="/search",le="+Inf"} 2',
        'dcal_reid_request_seconds_count{route="/search"} 2',
        "dcal_reid_gallery_items 40",
        "dcal_reid_model_images_total 1",
    ):
        assert line in text.splitlines(), line
