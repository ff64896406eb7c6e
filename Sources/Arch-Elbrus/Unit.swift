import PagingKit
